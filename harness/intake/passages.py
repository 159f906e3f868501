# ruff: noqa: E501  the words of one role stand together
"""Where in a report a line stands: under which heading, in a code fence or not. Pure, streaming.

People tell one failure several times: in the title, in the summary, in the steps, in the log. Headings and fences say
which telling a line belongs to (its *passage*) and what that telling is for (its *role*). The headings of issue forms
are known in the languages that intake reads; a heading that says nothing of this kind has no role.
"""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["MENTIONING", "Passages", "Place"]

#: Roles whose text talks about messages instead of printing them.
MENTIONING = frozenset(("title", "summary", "steps", "expected"))


class Place(NamedTuple):
    """``passage`` counts up at each heading and fence. ``role``: what its heading is for; empty: not known."""

    passage: int = 0
    role: str = ""
    fenced: bool = False


#: The first that matches decides: "Steps to reproduce the bug" are steps.
_ROLES: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (role, re.compile(pattern, re.IGNORECASE))
    for role, pattern in (
        ("steps", r"steps?\b|reproduc|schritte|étapes|pasos|passos|passi|шаги|воспроизв|复现|重现|復現|再現|步骤|手順|재현"),
        ("expected", r"expect|should|erwart|attendu|esperad|atteso|ожида|预期|期望|期待|기대"),
        ("log", r"\blogs?\b|output|trace|excerpt|ausgabe|protokoll|sortie|journal|salida|registro|saída|лог|вывод|журнал|日志|ログ|输出|出力|로그"),
        ("version", r"version|versión|versão|версия|版本|バージョン|버전|release"),
        ("system", r"operating system|\bOS\b|platform|environment|betriebssystem|umgebung|système|environnement|plate-?forme|sistema|ambiente|entorno|plataforma|систем|окружени|操作系统|系统|环境|環境|プラットフォーム|운영|환경"),
        ("actual", r"actual|happen|observed|tatsächlich|passiert|constat|ocurr|acontec|succede|происход|фактич|实际|發生|发生|実際|실제"),
        ("summary", r"summary|description|describe|overview|problem|\bbug\b|issue|zusammenfassung|beschreibung|résumé|resumen|descripción|resumo|descrição|descrizione|опис|проблем|概要|描述|现象|問題|问题|説明|요약|설명"),
    )
)  # fmt: skip
_HEADING = re.compile(r"\s{0,3}(?P<level>#{1,6})\s{1,4}(?P<text>\S.{0,200})$")
_BOLD = re.compile(r"\s{0,3}(?:\*\*|__)(?P<text>[^*_]{2,80})(?:\*\*|__)\s{0,3}[:：]?(?P<rest>.{0,400})$")
_LABEL = re.compile(r"(?P<text>[A-Z\u0400-\u04ff\u3040-\u9fff\uac00-\ud7a3][^:：`\"'/=\d]{1,40})[:：]\s{0,3}$")
_FENCE = re.compile(r"\s{0,12}(?:>\s?){0,4}(?:`{3,}|~{3,})")


class Passages:
    """Feed it every line in order; it says where the line stands."""

    def __init__(self) -> None:
        self._place = Place()

    def place(self, line: str) -> Place:
        """Where this line stands. A heading stands in the passage that it opens, as its title."""
        head = line[:3].lstrip(" >")
        if not head:
            if not line[:60].strip():
                return self._place
            head = line.lstrip(" >\t")[:3]
        if head[:1] in "`~" and _FENCE.match(line):
            self._place = Place(self._place.passage + 1, self._place.role, not self._place.fenced)
            return self._place
        if self._place.fenced:
            return self._place
        if head[:1] == "#":
            found = _HEADING.match(line)
            if found is not None:
                return self._opened(_role(found["text"]))._replace(role="title")
        elif head[:2] in ("**", "__"):
            found = _BOLD.match(line)
            if found is not None and (role := _role(found["text"])):
                return self._opened(role)
        elif len(line) < 48 and line.rstrip().endswith((":", "：")):
            found = _LABEL.match(line.strip())
            if found is not None and (role := _role(found["text"])):
                return self._opened(role)
        return self._place

    def _opened(self, role: str) -> Place:
        self._place = Place(self._place.passage + 1, role, False)
        return self._place


def _role(text: str) -> str:
    return next((role for role, pattern in _ROLES if pattern.search(text)), "")
