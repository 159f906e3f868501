"""Does a word look as if a machine had drawn it? Pure.

Lists of the prefixes of keys never end, but what stands behind the prefixes is drawn at random, and neither prose nor
the names that programmers make look like that: words have common pairs of letters, names have few changes between
letters and digits and long humps.
"""

from __future__ import annotations

import re
from itertools import pairwise

__all__ = ["looks_random"]

SHORTEST = 16  # characters: below, a version of a model looks the same
_SHORTEST_HEX = 12
#: Pairs of letters that make up about 80 of 100 pairs of English, German and the names of programs.
_PAIRS = (
    "th he in er an re nd on en at ou ed ha to or it is hi es ng st ar te se me sa ne wa ve le no ta al de ot so "
    "dt ll tt el ro ad ew ra ri io ic li la co ma ch ca ec us ur ns nt ce om fo be ho ut ee tr il ac di si ti pe "
    "pr et ge as ul lo po mo do wo ow ai am ab ag ap av ak ay ub un up ud um ui ue oo op ol os od ob oc oi ov ok "
    "em ep ev ex ea ei ef eg id im if ig ip ir iv lu ly ls lt lf ld lc mp mb mi mu nc nf nk nn ni nu pa ph pi pl "
    "ps pt pu rc rd rg rk rl rm rn rr rs rt ru ry rv sc sh sk sl sm sp ss su sy sw tl tu tw ty ts tc va vi wh wi "
    "wr ye yp ys bl bo br bu by cc ci ck cl cr ct cu da dd dr du fa fe ff fi fl fr ft fu ga gh gi gl go gr gu gs "
    "ja jo ju ke ki ks lp na nv pp qu ws "
)
_COMMON = frozenset(_PAIRS.split())
_HUMP = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


def looks_random(word: str) -> bool:
    """Was this run of letters and digits drawn rather than written?

    Args:
        word: ASCII letters and digits only.
    """
    if len(word) < _SHORTEST_HEX or word.isdigit():
        return False
    humps = _HUMP.findall(word)
    if word.isalpha():
        return len(word) >= SHORTEST and (
            _rare_pairs(word.lower()) or (len(humps) > 4 and len(word) < 3.2 * len(humps))
        )
    changes = sum(1 for one, other in pairwise(humps) if one.isdigit() != other.isdigit())
    if len(word) < SHORTEST:
        return changes >= 4
    if changes >= 4 or (changes >= 2 and len(humps) >= 5):
        return True
    letters = "".join(hump for hump in humps if hump.isalpha())
    return len(letters) >= 14 and _rare_pairs(letters.lower())


def _rare_pairs(letters: str) -> bool:
    pairs = [letters[n : n + 2] for n in range(len(letters) - 1)]
    return sum(pair in _COMMON for pair in pairs) < 0.62 * len(pairs)
