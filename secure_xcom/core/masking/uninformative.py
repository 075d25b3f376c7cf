"""Recognize strings that carry no information: they keep no secret, and masked they make logs unreadable."""

from __future__ import annotations

import re
import string

_DIGITS = frozenset(string.digits)
_PUNCTUATION = string.whitespace + string.punctuation
_WORD = re.compile(r"[^\W_]+")
# Two common words side by side ("not set", "null, null"); more of them may be a passphrase.
_COMMON_WORDS_MAX = 2
# A number is found inside longer numbers, such as timestamps, sizes and ids. From this length on that is unlikely.
_NUMBER_MIN_CHARACTERS = 8
# Round numbers (10000000) are counts and sizes.
_SIGNIFICANT_DIGITS_MIN = 6

# One word a line would be 400 lines.
COMMON_WORDS = frozenset(
    """
    a about access after again airflow all allowed always an and answer application are args argument arguments
    array asset attempt auth backend backup base basic be because been before begin being below bool boolean
    bucket build builtin by bytes cache call called cancel cancelled changed changeme check class clear client
    close closed cloud code column columns command commit common complete completed config configuration connect
    connected connection content context copy core could count created critical current daily data database date
    datetime debug default defer deferred delete deleted denied deny dev development disable disabled done
    download email empty enable enabled engine env environment err error errors event events every example
    exception execute executed executor exit expired export external fail failed failure false fatal field fields
    file files filter finished first float for format found full function group groups guest has have header
    headers hello hidden host hostname http https idle in index info information input insert install int integer
    invalid is it items job jobs json key label large level limit lines loaded local localhost log logger logging
    login main masked master max memory message messages meta metadata method min missing mode model module
    monitor mysql n_a name named names nan native never nil no node nodes none not not_set nothing notice null
    number object objects of off ok okay old on open opened operator option optional options other owner params
    parent passed password path pending permission placeholder plugin policy port postgres previous primary print
    priority private process prod production profile public pull push python query queue queued range read reader
    reading ready redacted redis region remote report repository request requests reset resource response
    restarting result results retries retry return returned role root row rows run runner running sample schedule
    scheduled scheduler schema secondary secret section sent server service session set settings shared short
    should skip skipped sleep small source stage standard start started starting state static status stderr
    stdout stop stopped store stream string strings succeeded success successful system table tables target task
    tasks template test testing tests that the their there these this those thread timeout timestamp title to
    today total trace trigger triggered triggerer true try type types unavailable undefined under unknown unset
    until up_for_reschedule up_for_retry update updated upload upstream upstream_failed url usage user username
    users using valid value values variable verbose version wait waiting warn warning warnings where which while
    with worker workers world would write wrong yes
    """.split()  # noqa: SIM905  # see above
)
"""Log levels, booleans, null words, states of tasks, and words that stand in ordinary log lines, in lower case."""


def is_uninformative(text: str) -> bool:
    """Return whether a string is nothing but blanks, punctuation, runs of one character, or common words."""
    characters = set(text)
    # Most secrets have a digit, and no common word does.
    if not characters.isdisjoint(_DIGITS):
        return len(set(filter(str.isalnum, characters))) <= 1
    folded = text.casefold()
    words = set(_WORD.findall(folded))
    return (
        folded.strip(_PUNCTUATION) in COMMON_WORDS
        or len(set(filter(str.isalnum, folded))) <= 1
        or (len(words) <= _COMMON_WORDS_MAX and COMMON_WORDS.issuperset(words))
    )


def is_long_number(text: str) -> bool:
    """Return whether a printed number is long enough that masking it leaves other numbers readable."""
    digits = "".join(filter(str.isdigit, text.lower().partition("e")[0]))
    return len(text) >= _NUMBER_MIN_CHARACTERS and len(digits.strip("0")) >= _SIGNIFICANT_DIGITS_MIN
