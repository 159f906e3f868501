# ruff: noqa: E501, SIM905  the words of one language stand together
"""Does a sentence say that a message is NOT there? Pure.

"There is no `database is locked` in the log" names an error and denies it. A denial is a word like "no", "instead of",
"unlike" in the same sentence, with nothing but quoted messages and a few small words between the two ("no sign of",
"do not see the"), or one behind the message ("... does not appear"). What stands between is checked against a list of
small words, so "the bot does not answer with `X`" denies the answer, not X.
"""

from __future__ import annotations

import re

__all__ = ["denied"]

_REACH = 160  # characters before and behind a message that are looked at
_WORDS_BETWEEN = 6
_QUOTED = re.compile(
    r"`[^`\n]{1,160}`|\"[^\"\n]{1,160}\"|«[^»\n]{1,160}»|「[^」\n]{1,160}」|『[^』\n]{1,160}』|'[^'\n]{4,160}'"
)
_SENTENCE_END = re.compile(r"[.!?](?=\s)|[。！？\n]")
_NEGATOR = re.compile(
    r"\b(?:no|not|never|without|neither|nor|none|cannot|instead of|in place of|rather than|unlike|other than|\w{2,6}n't"
    r"|kein\w{0,2}|nicht|nie(?:mals)?|ohne|statt|anstatt|anstelle(?: von)?|anders als|weder|im gegensatz zu[mr]?"
    r"|pas|aucune?|sans|au lieu d\w{0,2}|plutôt que|contrairement (?:à|aux?)|ni|jamais|à la place d\w{0,2}"
    r"|sin|ning[uú]n\w{0,2}|nunca|en (?:vez|lugar) del?|a diferencia del?|tampoco"
    r"|sem|nenhum\w{0,2}|não|nem|em vez d\w{1,2}|ao contrário d\w{1,2}|diferente d\w{1,2}"
    r"|non|nessun\w{0,2}|senza|invece d\w{1,5}|a differenza d\w{1,5}|né"
    r"|нет|не|ни|без|вместо|в отличие от|никак\w{1,3})\b"
    r"|\b(?:au lieu d|plutôt qu|à la place d|n|pas d|invece dell|a differenza dell)'"
    r"|没有|沒有|并非|並非|不是|而非|而不是|未(?:见|出现|发现)|不同于|不像|无(?!法)|没(?:见|看)(?:到|过)?",
    re.IGNORECASE,
)
#: Between a negator and the message. Anything else means that something else is denied.
_SMALL = frozenset(
    "see seen saw find found have had has get got getting print prints printed log logs logged show shows contain contains the a an any"
    " single usual one of classic known same famous it is was are be this that these those in at all here there error errors"
    " message messages line lines entry entries sign signs trace traces mention mentions hit hits occurrence such as like saying or"
    " nor and from about for to any typical kind even"
    " der die das den dem des ein eine einen einem einer kein keine von zu zum zur meldung fehler zeile zeilen eintrag einträge spur oder noch und im in"
    " hier wie mit bei bekannte bekannten übliche üblichen log logs auch irgendein"
    " le la les l un une des du de d trace message erreur ligne ni ou et dans ici comme y a il connu habituel"
    " el los las una unos ningún mensaje error errores línea rastro o y en aquí como hay del conocido conocida"
    " os as um uma mensagem erro erros linha vestígio ou e no na em aqui como há do da conhecido"
    " il lo gli uno messaggio errore riga traccia o e nel qui come c'è di del"
    " ни и или в сообщения сообщение ошибки ошибка строки строка следов там здесь такого как вижу видно никаких"
    " xxxx".split()
)
_SMALL_CJK = re.compile(
    r"(?:看到|看见|看見|见到|出现|出現|发现|任何|像|类似|類似|这样的|這樣的|那样的|报|打印|日志|里|裡|有|是|的|过|到|也|或|和|、|,|，|错误|錯誤|信息|消息|这种|常见的|\s)*"
)
_BEHIND = re.compile(
    r"\s{0,2}(?:(?:message|error|line|entry|meldung|zeile|fehler|erreur|error|mensaje|erro|ошибк\w|сообщени\w) ?)?"
    r"(?:(?:is|was|are|were|does|do|did|has|have|can|could|ist|war|taucht|kommt|steht|gibt es|findet sich|est|apparaît|n'apparaît|n'est|aparece|apareció|compare)? ?"
    r"(?:not|n't|never|nowhere|absent|missing|hier nicht|dort nicht|da nicht|im log nicht|nirgends|nicht|nie|nulle part|pas|absente?|ausente|assente)\b"
    r"(?! (?:released?|recover|fixed|solved|handled|retried|caught|weg))"
    r"(?: (?:there|in the|in|appear\w{0,2}|occur\w{0,3}|show\w{0,2}|present|logged|printed|seen|found|to be (?:seen|found)|vor|auf|da|dans|en|no|nel)\b|\s{0,2}(?:[.,;!]|$))"
    r"|(?:no|não|non) (?:aparece|está|sale|figura|se ve|existe|consta|compare|c'è|appare)\b|(?:не встреча|отсутству|нет в |нет[.,;]|не появл|не было)"
    r"|(?:也|都)?(?:没有|沒有|并未|未)(?:出现|出現|看到|发现|在)|不存在于|也没有[。，,.]"
    r"|(?:という\w{1,6})?(?:は|も|が|では|とは)?(?:ログに(?:は|も)?|どこにも)?(?:出て(?:い)?(?:ません|ない)|出ません|ありません|ない[。、]|なく|なし|見当たり|見つかり|ではな|じゃな)"
    r"|(?:은|는|이|가|도)?\s?(?:로그에(?:는|도)?\s?)?(?:없(?:습|다|고|음|었)|아니|아닙|보이지 않|나오지 않|안 나))",
    re.IGNORECASE,
)
_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?|#?\d+")
_BREAK = re.compile(
    r"[:;→=]|->|—| - |\b(?:but|only|because|aber|nur|sondern|mais|parce|pero|sólo|solo|porque|mas|ma|но|только)\b|但|只|因为",
    re.IGNORECASE,
)


def denied(text: str, start: int, end: int) -> bool:
    """Does the sentence around ``text[start:end]`` say that this message is not there?"""
    before = text[max(0, start - _REACH) : start]
    cut = 0
    for stop in _SENTENCE_END.finditer(before):
        cut = stop.end()
    return _denied_before(before[cut:]) or _denied_behind(text[end : end + _REACH])


def _denied_before(before: str) -> bool:
    between_quotes = _QUOTED.sub(" ", before)
    last = None
    for found in _NEGATOR.finditer(between_quotes):
        last = found
    if last is None:
        return False
    between = between_quotes[last.end() :]
    if _BREAK.search(between):
        return False
    if re.search(r"[\u3040-\u30ff\u4e00-\u9fff]", last[0] + between):
        return _SMALL_CJK.fullmatch(between.strip("`\"'«「『 ")) is not None
    words = [word.lower() for word in _WORD.findall(between)]
    small = [word for word in words if word not in _SMALL and not word.startswith("#") and not word.isdigit()]
    return not small and len(words) <= _WORDS_BETWEEN


def _denied_behind(behind: str) -> bool:
    rest = behind.lstrip("`\"'»」』”)")
    # "neither X nor Y is there": further messages may stand between.
    rest = re.sub(
        r"^(?:\s{0,2}(?:,|or|nor|and|oder|noch|und|ou|ni|o|y|e|и|или|ни|和|或|も|と|や|、|과|와)?\s{0,2}"
        + f"(?:{_QUOTED.pattern}))+",
        "",
        rest,
    )
    return _BEHIND.match(rest) is not None
