"""What a column's name hints at: words that name codes, and words that name amounts."""

import re


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_CODES = _words(
    """id ids code codes type kind zip zipcode postal postcode hash uid uuid guid gid sku category cat class channel
    version region city country state province county area os device model brand app ip user item movie film song artist
    ad ads campaign advertiser publisher site domain product store shop seller merchant slot pos position placement
    weekday month hour dayofweek dow gender sex occupation job language lang browser platform carrier network segment
    group cluster cookie session customer client member account query keyword creative adgroup banner page url tag label
    key num_id no idx index status flag zone district branch department dept genre source medium operator phone plan
    isweekend daytime"""
)
_AMOUNTS = _words(
    """count counts cnt num n number amount amt price cost fee age days hours minutes seconds rate ratio sum total avg
    mean median max min std var score length len size width height depth balance income salary wage duration distance
    weight lat lon lng latitude longitude gain loss ctr cvr cpc cpm bid quantity qty past prior budget spend revenue
    sales temperature temp speed value percent pct share prob probability views clicks impressions visits purchases
    orders recency frequency tenure year rank level points"""
)
_FIRST_AMOUNTS = _words("num n number count cnt total avg mean sum max min std days hours past prior")
_FOLDS = _words("fold folds split splits partition kfold cv_fold dataset subset is_train is_test")
_SESSIONS = _words(
    "session impression request search visit srch query auction display pageview trip order basket transaction"
)
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")


def words_of(name: str) -> list[str]:
    """The words of a name in snake_case, camelCase or with blanks, in small letters, without numbers."""
    return [word.lower() for word in _WORD.findall(name) if not word.isdigit()]


def is_named_code(name: str) -> bool:
    """Whether the name speaks of an identifier or a kind, such as `user_id` or `device type`."""
    words = words_of(name)
    return bool(words) and words[-1] in _CODES and words[0] not in _FIRST_AMOUNTS


def is_named_amount(name: str) -> bool:
    """Whether the name speaks of an amount, such as `num_clicks` or `hours_per_week`."""
    words = words_of(name)
    return bool(words) and not is_named_code(name) and (words[-1] in _AMOUNTS or words[0] in _FIRST_AMOUNTS)


def is_named_fold(name: str) -> bool:
    """Whether the name speaks of a division of the rows into parts."""
    return name.lower() in _FOLDS or words_of(name)[-1:] in (["fold"], ["folds"])


def is_session_name(name: str) -> bool:
    """Whether the name speaks of one visit or one page of results, whose rows belong together."""
    return bool(_SESSIONS & set(words_of(name)))
