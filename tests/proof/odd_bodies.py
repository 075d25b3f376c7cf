"""What a raw client sends to slip another context past a policy that limits contexts."""

from __future__ import annotations

# wrap: the wrap to open; theirs: its context; mine: a context that the client may have; short: part of theirs.
DECRYPT = (
    '{"ciphertext": "%(wrap)s", "context": "%(theirs)s"}',
    '{"batch_input": [{"ciphertext": "%(wrap)s", "context": "%(theirs)s"}]}',
    (
        '{"context": "%(mine)s", "ciphertext": "%(wrap)s", '
        '"batch_input": [{"ciphertext": "%(wrap)s", "context": "%(theirs)s"}]}'
    ),
    (
        '{"Batch_Input": [{"ciphertext": "%(wrap)s", "context": "%(theirs)s"}], '
        '"context": "%(mine)s", "ciphertext": "x"}'
    ),
    '{"ciphertext": "%(wrap)s", "context": "%(mine)s", "context": "%(theirs)s"}',
    '{"ciphertext": "%(wrap)s", "context": "%(theirs)s", "context": "%(mine)s"}',
    '{"ciphertext": "%(wrap)s", "context": "%(mine)s", "Context": "%(theirs)s"}',
    '{"ciphertext": "%(wrap)s", "CONTEXT": "%(theirs)s"}',
    '{"ciphertext": "%(wrap)s", "context": ["%(theirs)s"]}',
    '{"ciphertext": "%(wrap)s", "context": ["%(mine)s", "%(theirs)s"]}',
    '{"ciphertext": "%(wrap)s", "context": {"0": "%(theirs)s"}}',
    '{"ciphertext": "%(wrap)s", "context": null}',
    '{"ciphertext": "%(wrap)s", "context": ""}',
    '{"ciphertext": "%(wrap)s"}',
    '{"ciphertext": "%(wrap)s", "context": "\\n%(theirs)s"}',
    '{"ciphertext": "%(wrap)s", "context": "%(short)s"}',
    '{"ciphertext": "%(wrap)s", "con\\u0074ext": "%(theirs)s"}',
    '{"ciphertext": "%(wrap)s", "context": "%(theirs)s", "associated_data": "%(mine)s"}',
    '{"ciphertext": "%(wrap)s", "context": "%(mine)s", "nonce": "%(theirs)s"}',
    '{"ciphertext": "%(wrap)s", "context": "%(mine)s\\n%(theirs)s"}',
    # What comes behind the first document, what a reader of more lenient JSON takes, what is no JSON.
    '{"ciphertext": "%(wrap)s", "context": "%(mine)s"}{"context": "%(theirs)s"}',
    '{"ciphertext": "%(wrap)s", "context": "%(mine)s", "context\\u0000": "%(theirs)s"}',
    '[{"ciphertext": "%(wrap)s", "context": "%(theirs)s"}]',
    '{"data": {"ciphertext": "%(wrap)s", "context": "%(theirs)s"}}',
    "ciphertext=%(wrap)s&context=%(theirs)s",
)
QUERIES = ("", "?context=%(quoted)s", "?batch_input=x", "?ciphertext=%(wrap)s&context=%(quoted)s")
