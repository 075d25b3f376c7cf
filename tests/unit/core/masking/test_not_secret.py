"""What is no secret stays readable: strings without information, short numbers, and names of other things."""

from __future__ import annotations

import string
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secure_xcom.core.masking.masker_registration import register
from secure_xcom.core.masking.preview import preview
from secure_xcom.core.masking.sensitive_names import DEFAULT_NAMES, SensitiveNames
from secure_xcom.core.masking.uninformative import COMMON_WORDS
from tests.support.secrets_of import secrets_of

airflow_masker = pytest.importorskip("airflow.sdk._shared.secrets_masker")
NAMES = SensitiveNames(DEFAULT_NAMES)


def registered(
    value: object, *, key: str = "return_value", mode: str = "named", names: SensitiveNames = NAMES
) -> set[str]:
    """What the masker is told of a value."""
    return set(secrets_of(value, names=names, key=key, mode=mode, cap=1000).values)


# --- strings without information ------------------------------------------------------------------------------

BLANK = st.text(alphabet=string.whitespace + string.punctuation + "\u00a0\u2003─═•█", min_size=5, max_size=40)
RUNS = st.builds(
    lambda character, lengths, joint: joint.join(character * length for length in lengths),
    st.sampled_from(string.ascii_letters + string.digits + "é"),
    st.lists(st.integers(1, 9), min_size=1, max_size=5),
    st.sampled_from(["", "-", " ", ".", "_"]),
)
WORDS = st.builds(
    lambda word, case, before, after: before + case(word) + after,
    st.sampled_from(sorted(COMMON_WORDS)),
    st.sampled_from([str.lower, str.upper, str.title]),
    st.sampled_from(["", " ", "<", "[", "'", "  -- "]),
    st.sampled_from(["", " ", ">", "]", "'", ":", "\n"]),
)


@given(BLANK | RUNS | WORDS)
def test_strings_without_information_are_never_registered(text: str) -> None:
    """Blanks, punctuation, runs of one character, log levels, booleans, null words and common words."""
    for value in (text, text.encode(), [text], {"inner": {text: None}}):
        for mode in ("named", "all"):
            assert registered({"password": value}, mode=mode) <= {"password", "inner"} - COMMON_WORDS
    assert registered({"text": text}, mode="all") == set()
    assert registered(text, key="token") == set()


@pytest.mark.parametrize(
    "text",
    [
        *(
            "hunter2",
            "Pa55word",
            "tr0ub4dor&3",
            "correct horse battery staple",
            "12345",
            "abcde",
            "aaaab",
            "error1",
        ),
        *(
            "info@example.org",
            "warning-a7f3",
            "none of them",
            "ERRORxK2",
            "00000001",
            "-----a-b-----",
            "null;drop",
        ),
    ],
)
def test_strings_with_information_are_registered(text: str) -> None:
    """Nothing but such strings is left out, however weak a password is."""
    assert text in registered({"password": text})


@pytest.fixture
def masker() -> Iterator[Any]:
    """Airflow's masker with nothing in it."""
    airflow_masker.reset_secrets_masker()
    yield airflow_masker
    airflow_masker.reset_secrets_masker()


def test_a_log_stays_readable(masker: Any) -> None:
    """The lines of a log look the same after a push of values that are no secrets."""
    value = {
        "password": " " * 10,
        "token": ["error", "INFO", "None", "-" * 20, "0" * 12, "default", "not set"],
        "secret": {"enabled": "true", "total": 12345, "ratio": 0.25, "size": 10_000_000, "level": "WARNING"},
        "usage": {"total_tokens": 123456789, "prompt_tokens": 100000, "max_tokens": "unlimited"},
    }
    register(secrets_of(value, names=NAMES, key="k", mode="named", cap=1000))
    for line in (
        "          indented by ten",
        "WARNING error in default of INFO: None is not set, true",
        "read 123456 of 10000000 rows in 0.25123 s, 123456789 tokens, unlimited",
        "--------------------------------------------------",
        "at 000000000000 total_tokens=123456789",
    ):
        assert masker.redact(line) == line


# --- numbers --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [0, 7, 12345, 1234567, 10_000_000, 120_000_000, 0.5, 12.75, 1e20, -1.0])
def test_numbers_that_would_star_others_are_not_registered(number: float) -> None:
    """Short and round numbers stand within other numbers."""
    assert registered({"password": number, "secret": [number]}) == set()


@pytest.mark.parametrize("number", [12345678, 4711081500, 1234567890123456, -0.12345678])
def test_long_numbers_are_registered(number: float) -> None:
    """Account numbers and the like are hidden under a sensitive name."""
    assert str(number) in registered({"password": number})


def test_numbers_under_plurals_are_counts() -> None:
    """They are shown in previews and not registered; other values under the name are secret."""
    value = {"tokens": 12345678, "secrets": 3, "api_keys": 12345678, "passwords": ["hunter22"]}
    assert registered(value) == {"hunter22"}
    assert registered("tokens: 12345678, tokens=87654321, token=11223344") == {"11223344"}
    assert preview(value, mode="masked", names=NAMES, key="k", max_bytes=1500) == {
        "tokens": 12345678,
        "secrets": 3,
        "api_keys": 12345678,
        "passwords": "***",
    }
    assert registered({"patient_keys": 12345678}, names=SensitiveNames(DEFAULT_NAMES, listed=["patient_keys"]))


# --- names ----------------------------------------------------------------------------------------------------

NOT_SECRET = [
    name
    for line in (
        "total_tokens totalTokens TOTAL-TOKENS max_tokens maxOutputTokens max_tokens_to_sample prompt_tokens",
        "input_tokens outputTokens completion_tokens cache_read_input_tokens completion_tokens_details",
        "reasoning_tokens num_tokens promptTokenCount token_count token_usage tokens_used tokens_per_minute",
        "token_limit cost_per_token eos_token pad_token_id time_to_first_token tokenizer tokenizer_name",
        "tokenized tokenization detokenize next_page_token nextPageToken NextToken pageToken",
        "ContinuationToken NextContinuationToken pagination_token starting_token nextSyncToken",
        "clientRequestToken secretary secretariat passwordless passwordless_login secret_name secretName",
        "secretKeyRef secret_arn SecretARN secret_version secret_path imagePullSecrets token_type tokenType",
        "token_ttl token_scope access_token_expires_in token_created_at bearerFormat token_url token_uri",
        "token_endpoint authorization_url authorization_endpoint token_endpoint_auth_methods_supported",
        "password_policy password_length password_expires_at secret_count api_key_id private_key_id",
        "service_account_name service_account_email proxy_host proxy_port",
        "secretory token_status secretion_rate password_rules token_logprob secret_days tokens_per_call",
        "cursor_token audio_tokens stop_tokens changeToken per_output_token",
    )
    for name in line.split()
]
SECRET = [
    name
    for line in (
        "password token tokens secret api_key private_key client_secret session_token access_token",
        "refreshTokens id_token client_token bot_token csrf_token sync_token token_secret token_value",
        "token_used secret_value SecretString secret_id SecretId client_secret_id token_id access_key_id",
        "aws_access_key_id AccessKeyId password_hash password_salt password_hint private_key_content",
        "reset_token_url password_reset_url secret_url webhook_url http_proxy dsn connection_string",
        "authorization authorization_code service_account keyfile_dict secretary_password tokenizer_secret",
        "tokenizer_api_key secretmessage token_type_password secret_name_password next_page_token_secret",
        "max_password_tokens passwordless_token input_token input_access_tokens cachedApiTokens",
        "total_refresh_tokens activation_token_url unlock_token_url downloadTokenUrl webhook_token_uri",
        "presigned_token_url verify_token_url registration_token_url one_time_token_url passtokenizedword",
    )
    for name in line.split()
]


@pytest.mark.parametrize("name", NOT_SECRET)
def test_names_that_are_not_secrets(name: str) -> None:
    """What they name is shown and not registered, wherever a name stands; a secret within it is."""
    value: Any = "swordfish-1"
    for holder in ({name: value}, [[name, value], ["x", 1]], {"name": name, "value": value}, f"{name}={value}"):
        assert registered(holder) == set()
    shown = preview({name: value}, mode="masked", names=NAMES, key="k", max_bytes=1500)
    assert shown == {name: value}
    assert registered({name: {"password": value, "at": f"https://u:{value}@h"}}) == {value}
    assert registered({"secret": {name: value}}) >= {value}


@pytest.mark.parametrize("name", SECRET)
def test_names_that_are_secrets(name: str) -> None:
    """What somebody could log in with is secret, and so is what is in doubt."""
    assert NAMES.matches(name)


@given(st.sampled_from(NOT_SECRET), st.sampled_from(sorted(DEFAULT_NAMES)))
def test_an_exception_never_covers_another_secret(name: str, secret: str) -> None:
    """A name that goes on with a sensitive one is sensitive."""
    assert NAMES.matches(f"{name}_{secret}")


PARTS = st.sampled_from(
    [
        *sorted(DEFAULT_NAMES),
        *NOT_SECRET,
        *SECRET,
        "my",
        "x",
        "db",
        "name",
        "count",
        "url",
        "next",
        "total",
        "type",
    ]
)
JOINED = st.builds(
    lambda joint, parts: joint.join(parts),
    st.sampled_from(["_", "-", ".", " ", ""]),
    st.lists(PARTS, min_size=1, max_size=3),
)


@given(JOINED | st.text(max_size=20))
def test_airflow_hides_what_it_hid(name: str) -> None:
    """Every name that Airflow's masker hides is sensitive here, too, or a documented exception; and where Airflow
    itself hides what it names, it still does after a push.
    """
    from secure_xcom.core.masking.name_exceptions import is_exception
    from secure_xcom.core.masking.sensitive_names import _snake

    masker = airflow_masker.SecretsMasker()
    masker.sensitive_variables_fields = sorted(airflow_masker.DEFAULT_SENSITIVE_FIELDS)
    masker.hide_sensitive_var_conn_fields = True
    without_exceptions = SensitiveNames((), listed=DEFAULT_NAMES)
    if masker.should_hide_value_for_key(name):
        assert without_exceptions.matches(name)
        if not NAMES.matches(name):
            assert is_exception(_snake(name).strip("_"), without_exceptions.matches)
        masker.add_mask(sorted(registered({name: "swordfish-1"})))
        assert masker.redact({name: "swordfish-1"}) == {name: "***"}
    elif not NAMES.matches(name):
        # The other direction: what neither hides by its name stays readable in every log line.
        assert registered({name: "swordfish-1"}) == set()


def test_a_usage_record_of_a_language_model() -> None:
    """Counts are readable and the key is not."""
    value = {
        "api_key": "sk-swordfish-1",
        "usage": {"total_tokens": 1234567890, "prompt_tokens_details": {"cached_tokens": 1234567891}},
        "next_page_token": "CAUQAA-swordfish",
    }
    assert registered(value) == {"sk-swordfish-1"}
    assert preview(value, mode="masked", names=NAMES, key="k", max_bytes=1500) == {**value, "api_key": "***"}


# --- the settings ---------------------------------------------------------------------------------------------


def test_names_of_the_deployment_win() -> None:
    """`not_sensitive_names` over `sensitive_names` over the built-in exceptions over Airflow's names."""
    names = SensitiveNames(
        DEFAULT_NAMES,
        listed=["page_token", "iban"],
        not_sensitive=["*_Iban", "session-token", "llm token ?", "teamTok*"],
    )
    assert names.matches("next_page_token")
    assert names.matches("iban")
    assert names.matches("secret_name_token")
    for name in (
        "old_iban",
        "myIban",
        "session_token",
        "SESSION_TOKEN",
        "sessionToken",
        "llm_token_x",
        "team_token",
    ):
        assert not names.matches(name), name
    for name in ("session_token_2", "my_session_token", "llm_token_xy", "team_password"):
        assert names.matches(name), name


def test_none_registers_nothing() -> None:
    """With `mask_values = none` no string is registered, named or not."""
    assert registered({"password": "hunter22", "x": "y" * 5 + "z"}, key="secret", mode="none") == set()


def test_punctuation_at_an_end_of_a_listed_name_counts_for_nothing() -> None:
    """A listed name is spelled as names are, whatever stands around it."""
    names = SensitiveNames(DEFAULT_NAMES, not_sensitive=["page token!", "-my.token-"])
    assert not names.matches("page_token")
    assert not names.matches("my_token")


def test_a_decision_is_yes_or_no() -> None:
    """Callers compare it, and a setting of no characters asks for one."""
    assert NAMES.matches("amount") is False
    assert NAMES.matches("next_page_token") is False
    assert SensitiveNames([], not_sensitive=["token"], listed=["token"]).matches("token") is False
    assert [SensitiveNames([], min_length=length).min_length for length in (0, 1, 2)] == [1, 1, 2]
