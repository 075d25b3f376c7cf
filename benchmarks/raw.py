"""Sealing in memory, against AES-256-GCM without a format and against the AWS Encryption SDK."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator

PIECE = 1 << 20
KEY = os.urandom(32)


def sealed(pieces: list[bytes]) -> list[bytes]:
    """Ours."""
    from secure_xcom.core.seal import seal

    return list(seal(KEY, b"head", pieces))


def opened(pieces: list[bytes]) -> Iterator[bytes]:
    """Ours."""
    from secure_xcom.core.reference import HEADER_BYTES
    from secure_xcom.core.seal import unseal

    size = sum(map(len, pieces))
    return unseal(KEY, b"head", pieces, header=pieces[0][:HEADER_BYTES], size=size)


def gcm(pieces: list[bytes]) -> tuple[list[bytes], bytes, bytes]:
    """One AES-256-GCM message, streamed."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    nonce = os.urandom(12)
    encryptor = Cipher(algorithms.AES256(KEY), modes.GCM(nonce)).encryptor()
    made = [encryptor.update(piece) for piece in pieces]
    encryptor.finalize()
    return made, nonce, encryptor.tag


def gcm_opened(made: list[bytes], nonce: bytes, tag: bytes) -> Iterator[bytes]:
    """Its opening."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    decryptor = Cipher(algorithms.AES256(KEY), modes.GCM(nonce, tag)).decryptor()
    for piece in made:
        yield decryptor.update(piece)
    decryptor.finalize()


def dropped(pieces: Iterator[bytes]) -> None:
    """Take each and let it go: the next one is then written to the same memory, in the processor's cache."""
    deque(pieces, maxlen=0)


def aws_sdk() -> Callable[[bytes], bytes]:
    """The AWS Encryption SDK with a raw AES key, which needs no KMS."""
    import aws_encryption_sdk
    from aws_encryption_sdk.identifiers import CommitmentPolicy, EncryptionKeyType, WrappingAlgorithm
    from aws_encryption_sdk.internal.crypto.wrapping_keys import WrappingKey
    from aws_encryption_sdk.key_providers.raw import RawMasterKeyProvider

    class Provider(RawMasterKeyProvider):  # type: ignore[misc]  # the SDK has no types
        """One key, whatever it is asked for."""

        provider_id = "bench"

        def _get_raw_key(self, _key_id: bytes) -> WrappingKey:
            return WrappingKey(
                wrapping_algorithm=WrappingAlgorithm.AES_256_GCM_IV12_TAG16_NO_PADDING,
                wrapping_key=KEY,
                wrapping_key_type=EncryptionKeyType.SYMMETRIC,
            )

    provider = Provider()
    provider.add_master_key(b"one")
    client = aws_encryption_sdk.EncryptionSDKClient(
        commitment_policy=CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT
    )
    return lambda data: bytes(client.encrypt(source=data, key_provider=provider)[0])


def rounds(*works: Callable[[], object], times: int = 7) -> list[list[float]]:
    """Seconds of each, in turns, after a first time that does not count."""
    for work in works:
        work()
    found = []
    for _ in range(times):
        row = []
        for work in works:
            begun = time.perf_counter()
            work()
            row.append(time.perf_counter() - begun)
        found.append(row)
    return found


def seals() -> Iterator[tuple[str, str, list[list[float]], float]]:
    """Claim, peer, seconds of ours and of the peer's by round, and the target."""
    pieces = [os.urandom(PIECE) for _ in range(64)]
    ours, (made, nonce, tag) = sealed(pieces), gcm(pieces)
    raw = "raw AES-256-GCM"
    yield "seal of 64 MiB in memory", raw, rounds(lambda: sealed(pieces), lambda: gcm(pieces)), 1 / 0.8
    # As sealing is measured: with all of it in memory at the end.
    in_memory = rounds(lambda: list(opened(ours)), lambda: list(gcm_opened(made, nonce, tag)))
    yield "open of 64 MiB in memory", raw, in_memory, 1 / 0.8
    passing = rounds(lambda: dropped(opened(ours)), lambda: dropped(gcm_opened(made, nonce, tag)))
    yield "open of 64 MiB, of which nothing is kept", raw, passing, 1 / 0.8
    encrypt, small, whole = aws_sdk(), [b"x" * 10_000], b"".join(pieces[:16])
    sdk = "AWS Encryption SDK"
    yield "seal of 10 KB in memory", sdk, rounds(lambda: sealed(small), lambda: encrypt(small[0])), 1
    yield "seal of 16 MiB in memory", sdk, rounds(lambda: sealed(pieces[:16]), lambda: encrypt(whole), times=3), 1
