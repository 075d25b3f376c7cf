"""Strings that carry no information: they can keep no secret, and masking them would make logs unreadable."""

from __future__ import annotations

import re
from functools import lru_cache

_CACHE_SIZE = 4096
_WORD = re.compile(r"[^\W_]+")
# Two common words side by side ("not set", "null, null"); more of them may be a passphrase.
_COMMON_WORDS_MAX = 2
# A number is found inside longer numbers, such as timestamps, sizes and ids. From this length on that is unlikely.
_NUMBER_MIN_CHARACTERS = 8
# Round numbers (10000000) are counts and sizes.
_SIGNIFICANT_DIGITS_MIN = 6

COMMON_WORDS = frozenset(
    """
    a about access active add after again all allow allowed also always an and answer any app apps application are
    args argument arguments array as asset async attempt auth auto available back backend backup base basic batch be
    because been before begin below between body bool boolean both broken bucket build builtin but by bytes cache call
    called can cancel canceled cancelled change changed changeme check class clear client close closed cloud code
    column columns command commit common complete completed config configuration connect connected connection content
    context copy core could count create created critical current daily data database date datetime debug default
    defer deferred delete deleted denied deny describe description dev development dict disable disabled done down
    download duration each email empty enable enabled end ended engine entry env environment err error errors event
    events every example exception execute executed executor exit expired export external extra fail failed failure
    false fatal field fields file files filter finish finished first flag float folder for format found from full
    function get global group groups guest had handler has have header headers hello help here hidden high home host
    hostname hourly http https idle if ignore import in index info information init initial inline input insert
    install instance int integer internal into invalid is it item items job jobs json just key keys kind known label
    large last latest left length level limit line lines link list load loaded loading local localhost log logger
    logging login long low main make manual map master max may medium memory message messages meta metadata method
    min minute minutes missing mode model module monitor more most my mysql name named names nan native network never
    new next nil no node nodes none normal not nothing notice null number object objects of off ok okay old on once
    one only open opened operator option optional options or order other others out output over own owner package page
    params parent parse part passed password path pending permission ping pipeline plain play plugin point policy pool
    port postgres previous primary print priority private process processed prod production profile progress project
    public pull push python query queue queued random range raw read reader reading ready reason receive received
    redis region register registered reject rejected release remote remove removed replace replica report repository
    request requests required reset resource response restart restarting result results resume resumed retry retries
    return returned role root row rows run runner running sample save saved schedule scheduled scheduler schema scope
    second secondary seconds secret section select self send sensor sent server service session set settings shared
    shell short should show simple since size skip skipped sleep small some source special stage staging standard
    start started starting state static status stdout stderr step still stop stopped storage store stream strict
    string strings style submit succeed succeeded success successful sync system table tables tag tags target task
    tasks team temp template temporary test testing tests text that the their them then there these they this thread
    through time timeout timestamp title to today tomorrow tool total trace trigger triggered triggerer true try tuple
    type types unavailable undefined under unknown unset until up upcoming update updated upload upstream url usage
    use used user username users using utc valid value values variable verbose version view virtual wait waiting warn
    warning warnings was web weekly were when where which while who will with within without work worker workers
    world would write writer writing wrong yaml yes yesterday you your zero airflow
    upstream_failed up_for_retry up_for_reschedule not_set n_a redacted masked placeholder
    """.split()
)
"""Log levels, booleans, null words, states of tasks, and words that stand in ordinary log lines, in lower case."""


@lru_cache(_CACHE_SIZE)
def is_uninformative(text: str) -> bool:
    """Return whether a string is nothing but blanks, punctuation, runs of one character, or common words."""
    words = _WORD.findall(text.casefold())
    if not words:
        return True
    if len(set("".join(words))) == 1:
        return True
    return text.strip().casefold() in COMMON_WORDS or (
        len(set(words)) <= _COMMON_WORDS_MAX and COMMON_WORDS.issuperset(words)
    )


def is_long_number(text: str) -> bool:
    """Return whether a printed number is long enough that masking it leaves other numbers readable."""
    digits = "".join(filter(str.isdigit, text.lower().partition("e")[0]))
    return len(text) >= _NUMBER_MIN_CHARACTERS and len(digits.strip("0")) >= _SIGNIFICANT_DIGITS_MIN
