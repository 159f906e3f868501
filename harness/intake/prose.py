# ruff: noqa: E501  the words of one language stand together
"""What reporters say around the program's lines, in the languages that intake reads. Pure.

One *saying* per idea, one row per language. A saying is evidence, weaker than a line of the program, and it counts only
where the words before it do not deny it. The languages: English, German, French, Spanish, Portuguese, Italian, Russian,
Chinese, Japanese, Korean.

Every pattern runs in linear time: what repeats is bounded, and no repetition stands inside another.
"""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["SAYINGS", "Saying"]


class Saying(NamedTuple):
    """One idea. ``pattern`` may name the groups ``pid``, ``pid2`` ...: the process that it is said of."""

    kind: str
    pattern: re.Pattern[str]
    deniable: bool = True  # False: the idea is a negation itself ("never released")


def _saying(kind: str, *alternatives: str, deniable: bool = True) -> Saying:
    numbered, number = [], 0
    for text in alternatives:
        while "<pid>" in text:
            number += 1
            text = text.replace("<pid>", f"(?P<pid{number}>\\d{{1,10}})", 1)
        numbered.append(text)
    return Saying(kind, re.compile("|".join(f"(?:{text})" for text in numbered), re.IGNORECASE), deniable)


#: "process 4242", "PID 4242", in every language.
_PROCESS = (
    r"\b(?:pid|process(?:us|o)?|prozess|proceso|processo|процесс\w{0,3})\b\W{0,4}<pid>\b|(?:进程|進程|プロセス|프로세스)"
    r"\W{0,4}<pid>(?!\d)"
)
_GATEWAY = r"(?:gateway|passerelle|pasarela|шлюз\w{0,3}|网关|網關|ゲートウェイ|게이트웨이)"
_OTHER_PROCESS = (
    r"(?:another|a different|some other|an unrelated|not? (?:the|our) gateway|the dashboard|a different program"
    r"|(?:zu )?(?:einem|ein) ander\w{2}|un autre|autre (?:processus|programme)|otro|outro|un altro|друг\w{2,4}"
    r"|别的|其他|另一个|另外|別の|他の|다른)"
)

SAYINGS: tuple[Saying, ...] = (
    _saying(
        "says_dead",
        rf"(?:{_PROCESS})[^\n.。]{{0,60}}?(?:\bdead\b|not running|no longer (?:exist|runn|aliv|there)\w*"
        r"|does(?: not|n't) exist(?: any ?more)?|\bgone\b|\bexited\b|\bdied\b|was killed|not alive|defunct|No such process"
        r"|existiert nicht|läuft (?:längst |schon )?nicht|gibt es nicht|\btot\b|beendet|n'existe (?:pas|plus)|est mort"
        r"|ne tourne (?:pas|plus)|(?:ya )?no (?:existe|está|corre)|está muerto|(?:já )?não (?:existe|está)|está morto"
        r"|morreu|non esiste|è morto|не существует|уже нет|м[её]ртв|заверш|不存在|已(?:经)?(?:退出|死亡|终止|被杀|不在|死)"
        r"|没有运行|存在しない|存在しません|終了し|いない|いません|죽|존재하지 않|종료|없)",
        r"\b(?:process|pid|owner|holder)\b[^\n.]{0,20}\b(?:is|was)\b[^\n.]{0,12}\b(?:dead|gone)\b",
        r"pid=<[^>\n]{0,20}dead[^>\n]{0,20}>",
        r"\b(?:held|owned|left(?: behind)?)\b[^\n.]{0,40}\bby (?:a |the )?(?:crashed|dead|killed|terminated|exited) \w{1,20}",
        r"\b(?:process|worker|holder|owner)\b[^\n.]{0,40}\b(?:dies|died|crashe[sd]|(?:is|was) killed)\b[^\n.]{0,60}\block",
        r"\block[^\n.]{0,80}\b(?:holder|owner|owning process|process that (?:held|holds) it)\b[^\n.]{0,20}"
        r"\b(?:dies|died|is dead|is gone|crashed)\b",
        r"`?ps (?:-\w{1,6} )?<pid>`?[^\n.]{0,20}(?:prints|shows|returns|finds|gives|says) (?:nothing|no (?:such )?process)",
        r"(?:进程|進程)[^\n。]{0,12}(?:崩溃|被杀|异常退出)[^\n。]{0,30}锁",
        r"kill: \(<pid>\) - No such process",
    ),
    _saying(
        "says_killed",
        r"\bSIGKILL\w*|\bkill -(?:9|KILL)\b|\bOOM[ -]?kill\w*|\bOut of memory: Killed process\b|taskkill\b",
        r"\b(?:OOM|out[ -]of[ -]memory)\b[^\n.]{0,30}(?:kill|杀|getötet|tué|убил)",
        r"\b(?:crash(?:e[sd]|ing)?|power (?:loss|cut|failure|outage)|pulled the plug|ran out of battery|hard reset|killed)\b",
        r"\b(?:abgestürzt|absturz\w{0,3}|stromausfall|abgeschossen|getötet)\b",
        r"\b(?:plant[ée]\w{0,2}|coupure de courant|panne de courant|tué[es]?)\b",
        r"\b(?:se cayó|se colgó|corte de (?:luz|energía)|apagón|matado|mató|fue matado)\b",
        r"\b(?:caiu|travou|queda de energia|foi morto|matou|mataram)\b|\b(?:crashato|blackout|ucciso)\b",
        r"(?:упал|аварийн|отключени\w{1,2} (?:питания|электр)|убит|убил|вылетел)",
        r"崩溃|断电|斷電|停电|被杀|被 ?(?:OOM|kill)|杀掉|クラッシュ|停電|電源|強制終了|落ちた|落ちて|다운됐|정전|강제 종료|크래시",
    ),
    _saying(
        "says_gateway_down",
        r"gateway(?: service| process)? (?:is |was |has )?(?:down|stopped|not running|offline|dead)\b",
        r"gateway (?:ist|war) (?:aus|down|gestoppt)|passerelle (?:est )?(?:arrêtée|éteinte)|gateway (?:está )?(?:parado|detenido|caído)",
        r"(?:шлюз|gateway) (?:не запущен|остановлен)|网关(?:没有运行|未运行|已停止)|ゲートウェイは(?:停止|動いていない)",
        deniable=False,
    ),
    _saying(
        "says_recycled",
        r"\bpid\b[^\n.]{0,40}\b(?:re-?used|recycled|reassigned)\b|recycled pid|pid (?:re-?use|collision)",
        rf"(?:{_PROCESS})[^\n.。]{{0,40}}?(?:belongs to|is now|now is|was (?:taken|given)|gehört|ist (?:jetzt|nun|inzwischen)"
        r"|appartient|est (?:maintenant|désormais)|pertenece|ahora es|es ahora|pertence|agora é|appartiene|ora è|принадлежит"
        rf"|теперь|现在是|屬於|属于|今は|現在は|이제|지금은)[^\n.。]{{0,30}}?{_OTHER_PROCESS}",
        r"\b(?:pid|process)\b[^\n.]{0,30}\b(?:belongs to|is)\b[^\n.]{0,12}\b(?:another|a different|some other|an unrelated)\b",
        r"\b(?:pid|lock)\b[^\n.]{0,60}\b(?:is|was) (?:of|from|left by) the (?:old|previous|former|last) (?:container|gateway|boot|process)",
        r"\b(?:gets?|got|has|receives?) (?:the same )?pid <pid>\b[^\n.]{0,30}\b(?:again|as the one before|as before|too)\b",
        r"\bsame pid\b|\bgleiche PID\b|\bmême pid\b|\bmismo pid\b|\bmesmo pid\b|\bstesso pid\b|тот же (?:самый )?pid"
        r"|同(?:一个|样的|じ) ?pid|같은 pid",
        r"\bPID\b[^\n.]{0,30}(?:wiederverwendet|neu vergeben|réutilisé|reutilizad|riutilizzat|повторно|переиспольз|重用|复用|再利用|재사용)",
    ),
    _saying(
        "says_owner_lives",
        rf"(?:{_PROCESS}|\b<pid>)\W{{1,3}}(?:is|ist|est|es|é|è|—|-|–|это|:)\W{{1,3}}(?:\w{{2,12}} ){{0,2}}?(?:the |das |le |la |el |o |il )?"
        rf"(?:running |live |laufende |eigene )?{_GATEWAY}",
        rf"{_GATEWAY}(?: process)?\W{{0,3}}\(?(?:pid|PID)\W{{0,3}}<pid>\)?[^\n.。]{{0,24}}(?:alive|running|up|lebt|läuft|vivant|vivo|viva|жив|работает|在运行|还活着|生きて|動いて|살아)",
        rf"<pid> ?(?:是|就是|は) ?{_GATEWAY}|(?:进程|PID|プロセス) ?<pid> ?(?:是|就是|は) ?{_GATEWAY}",
        r"\b(?:held|owned|hold) by (?:the )?(?:live |running )?gateway(?: itself)?\b",
        r"\bthe (?:live|running) gateway\b[^\n.]{0,40}\b(?:holds|keeps|owns|never|does not|doesn't)\b",
    ),
    _saying(
        "says_idle",
        r"\b(?:sits?|is|was|stays|being|seems|gateway|process|it|owner) (?:completely |totally |just |fully )?idle\b|\bidle (?:gateway|owner|process|holder)\b",
        r"\b(?:does|doing|did) nothing\b|\bno (?:active|running) (?:run|turn|task|job|work)\w*\b|\bnothing (?:is |was )?(?:running|active|going on)\b",
        r"\b(?:run|turn|task|job|reply) (?:had |has |was |is )?(?:already |long since |long )?(?:ended|finished|completed|over|done)\b[^\n.]{0,24}\b(?:ago|before|earlier|long|since)\b",
        r"\b0(?:[.,]0)? ?% CPU\b|\bCPU\b[^\n.]{0,20}\b0 ?%|\bno CPU\b",
        r"\b(?:untätig|im leerlauf|tut (?:gar )?nichts|macht (?:gar )?nichts|nichts (?:mehr )?zu tun|kein(?:en)? (?:aktive\w? )?(?:lauf|turn|auftrag)\b)",
        r"\b(?:lauf|turn|auftrag|antwort)\b[^\n.]{0,50}\b(?:längst|schon|seit)\b[^\n.]{0,30}\b(?:fertig|beendet|zu ende|abgeschlossen)",
        r"\b(?:inacti(?:f|ve)|au repos|ne fait (?:plus )?rien|oisi(?:f|ve)|aucune? (?:exécution|tâche|tour) (?:en cours|active?))\b",
        r"\b(?:exécution|tour|tâche)\b[^\n.]{0,40}(?:terminée?|finie?)\b[^\n.]{0,20}(?:depuis|il y a)",
        r"\b(?:inactivo|ocioso|sin hacer nada|no hace nada|sin ninguna? (?:ejecución|tarea|turno)|en reposo)\b",
        r"\b(?:ejecución|turno|tarea)\b[^\n.]{0,40}(?:terminó|terminada|acabó)\b[^\n.]{0,20}(?:hace|antes)",
        r"\b(?:parado|ociosa|não faz nada|sem nenhuma? (?:execução|tarefa|turno)|inativo)\b|\b(?:inattivo|non fa nulla|non fa niente|fermo)\b",
        r"(?:простаива|бездейств|ничего не делает|без дела|нет активн|давно (?:завершил|закончил))",
        r"空闲|閒置|什么(?:都|也)没(?:有)?(?:做|干|在跑)|没有(?:任何)?(?:正在)?(?:运行|执行)的?(?:任务|运行|会话)?|早(?:就|已)(?:经)?(?:结束|完成)|已(?:经)?(?:结束|完成)(?:了)?(?:很久|一|两|几|\d)",
        r"アイドル|何もして(?:い)?(?:ない|ません)|(?:とっくに|すでに|既に)[^\n。]{0,12}終(?:わ|了)|暇|유휴|아무것도 하지|아무 작업도|이미 끝",
        deniable=False,
    ),
    _saying(
        "says_never_released",
        r"\b(?:never|not|n't|fails to|refuses to|without) (?:being |be |ever )?(?:releas|let(?:s|ting)? (?:it )?go|free|give[sn]?(?: it)? (?:back|up)|drop)\w*",
        r"\b(?:keeps?|kept|still (?:holds?|has|owns)|holding|holds) (?:on to )?(?:the|its|that|this) (?:session |write |own )?lock\b",
        r"\block\b[^\n.]{0,30}\b(?:stays|remains|is (?:left|leaked|stuck|still there)|leaks?|never goes away|lingers|is not removed)\b",
        r"\bleak(?:s|ed|ing)? (?:the|its|a|that) (?:session )?lock\b|\block leak\b|\bsession stays locked\b",
        r"\b(?:gibt|gab)\b[^\n.]{0,60}\b(?:nie|nicht|niemals)\b[^\n.]{0,16}\b(?:her|frei|zurück)\b|\bbleibt (?:dauerhaft |weiter |für immer )?(?:gesperrt|liegen|bestehen|hängen)\b|\bhält\b[^\n.]{0,30}\b(?:sperre|lock)\b",
        r"\b(?:ne|n')\s?(?:libère|relâche|rend)\b[^\n.]{0,14}\b(?:jamais|pas|plus)|\bgarde le verrou|\bverrou (?:reste|n'est jamais)",
        r"\b(?:nunca|no|jamás|não|jamais) (?:se |lo |la |o )?(?:libera|suelta|soltó|liberó|solta|liberou|devuelve)\w{0,2}\b|\b(?:sigue|queda|se queda|permanece|continua|fica) (?:bloquead|con el bloqueo|com o bloqueio)",
        r"\bnon (?:rilascia|libera|molla)\b|\bnon viene (?:mai )?rilasciat",
        r"(?:не|никогда не) (?:освобожда|отпуска|снима)\w{1,5}|блокировка (?:остаётся|остается|висит|не снимается)|держит блокировку",
        r"(?:从不|從不|不|没有|没|永不|一直不|始终不|未)(?:会|被|能)?(?:释放|釋放|放开|解锁)|一直(?:占着|占用|持有|锁着)|锁(?:一直|始终)(?:在|不放|没有)",
        r"(?:解放|リリース|手放)(?:し(?:ない|ません|なかった)|され(?:ない|ません|ず)|せず|さない|しません)|ロック(?:が|は)(?:残(?:る|り|った)|握ったまま)|持ったまま",
        r"(?:해제|반환)(?:하지|되지|를 안|을 안) ?(?:않|안)?|풀리지 않|놓지 않|잡고 있",
        deniable=False,
    ),
    _saying(
        "says_restart_helps",
        r"\b(?:only|nothing but) (?:a |an |the )?(?:gateway |full |hard )?(?:restart|reboot)\w*\b|\buntil (?:we |i |you |the |it is |it's |someone )?(?:gateway is |gateway )?(?:restart|reboot|killed)\w*",
        r"\b(?:a |the |gateway )?(?:restart(?:ing)?)(?: \w{1,12}){0,3} (?:helps|fixes|clears|cures|solves|works|unblocks|frees|required|needed|recovers)\b|\b(?:need|have|had) to restart\b|\b(?:fixed|cleared|solved|gone|recovers?) (?:\w{1,8} )?(?:by|after|with) (?:a |the )?(?:gateway )?restart",
        r"\b(?:nur|erst|hilft)\b[^\n.]{0,20}\bneustart\w{0,2}\b|\bneustart\b[^\n.]{0,16}\b(?:hilft|behebt|löst)|\bneu (?:starten|gestartet)\b[^\n.]{0,12}\b(?:hilft|werden)|bis (?:zum neustart|wir (?:es |das gateway )?neu)",
        r"\b(?:seule?|jusqu'|il faut|faut)\b[^\n.]{0,20}(?:redémarr|relanc)\w*|redémarr\w{1,5}[^\n.]{0,16}(?:résout|règle|suffit|débloque)",
        r"\b(?:solo|sólo|hasta que|hay que|só|somente|até|apenas)\b[^\n.]{0,20}rein?ici\w*|rein?ici\w{1,5}[^\n.]{0,20}(?:resuelve|arregla|ayuda|resolve|ajuda)",
        r"\b(?:solo|finché|bisogna)\b[^\n.]{0,20}riavvi\w*|(?:только|лишь|пока не|до|помогает)[^\n.]{0,20}(?:перезапу|перезагру|рестарт)\w*|(?:перезапуск|рестарт|перезагрузка)[^\n.]{0,12}(?:помога|решает)",
        r"(?:只有|必须|只能|要|直到|非得)[^\n。]{0,8}重启|重启[^\n。]{0,8}(?:才|后(?:就)?(?:恢复|正常|好)|能解决|有效)|再起動(?:するまで|しか|すると|すれば|しないと|で(?:しか|のみ|直|復)|が必要)|재시작(?:해야|하면|만|할 때까지|하기 전)",
    ),
    _saying(
        "says_restart_no_help",
        r"\b(?:after|survives?|even after|also after|despite)\b[^\n.]{0,24}\brestart\w{0,3}\b|\brestart\w{0,3}\b[^\n.]{0,24}\b(?:does not|doesn't|did not|didn't|no) help|\brestart\w{0,3} (?:changes|changed) nothing",
        r"\b(?:auch|selbst|sogar) nach\b[^\n.]{0,24}neustart|neustart[^\n.]{0,12}hilft (?:auch )?nicht|même après\b[^\n.]{0,24}redémarr|(?:incluso|aun|tampoco|mesmo|nem)\b[^\n.]{0,24}rein?ici|anche dopo\b[^\n.]{0,24}riavvi",
        r"(?:даже )?после (?:двух |нескольких )?(?:перезапуск|рестарт|перезагруз)\w*|重启(?:后|之后)?(?:也|还是|仍|依然)|再起動(?:して|後)も|재시작(?:해도|후에도)",
        deniable=False,
    ),
    _saying(
        "says_delete_helps",
        r"\b(?:delet|remov|rm)\w*\b[^\n.]{0,40}\block\w*\b|\block\b[^\n.]{0,24}\b(?:by hand|manually)\b|\bdeleting the \.lock does\b",
        r"\b(?:lösch|entfern)\w*\b[^\n.]{0,30}\b(?:sperr|lock)\w*|\b(?:sperr|lock)\w*\b[^\n.]{0,30}\b(?:gelöscht|löschen|entfern)|supprim\w*\b[^\n.]{0,30}verrou|(?:borrar?|elimin|apag|remov)\w*\b[^\n.]{0,30}(?:bloqueo|bloqueio|\.?lock)",
        r"(?:удал|стир)\w*[^\n.]{0,30}(?:блокиров|lock)|(?:删除|删掉|刪除|手动删)[^\n。]{0,12}(?:锁|lock)|ロック(?:ファイル)?を(?:手動で)?(?:削除|消)|(?:잠금|락|lock)[^\n.]{0,10}삭제",
    ),
    _saying(
        "says_passes",
        r"\bnext (?:one|message|try|attempt|run|turn|request|prompt|job)\b[^\n.]{0,24}\b(?:goes through|works|passes|succeeds|is fine|ok|gets through|arrives)\b|\bworks again (?:by itself|on its own|afterwards)\b|\b(?:recovers|goes away|clears|resolves) (?:by itself|on its own)\b|\bwaits? (?:it )?out\b",
        r"\bbeim nächsten (?:mal|versuch|lauf)\b[^\n.]{0,24}\b(?:läuft|geht|klappt|funktioniert)|\bdie nächste (?:nachricht )?(?:geht|kommt|klappt)|\bdanach (?:geht|läuft|klappt)\b|von (?:selbst|allein)\b",
        r"\ble (?:message )?suivant\b[^\n.]{0,24}\b(?:passe|fonctionne|marche)|\bensuite (?:ça|cela|tout) (?:re)?marche|\b(?:el|la|o|a) (?:siguiente|próxim[oa]|seguinte)\b[^\n.]{0,30}\b(?:funciona|pasa|passa|va bien)|il (?:successivo|prossimo)\b[^\n.]{0,24}\b(?:passa|funziona)",
        r"следующ\w{2,3}[^\n.]{0,24}(?:проход|работа|доход)|само (?:проходит|собой)|下一(?:条|个|次)[^\n。]{0,12}(?:就)?(?:正常|成功|能|好|通)|次(?:の|は)[^\n。]{0,16}(?:通|成功|届|動)|다음[^\n.]{0,16}(?:성공|정상|통과|됩니다)",
    ),
    _saying(
        "says_at_once",
        r"\b(?:at the same (?:time|minute|moment|second)|at once|simultaneous\w*|concurrent\w*|in parallel|same minute|together)\b",
        r"\b(?:gleichzeitig|zur selben (?:zeit|minute|sekunde)|zur gleichen (?:zeit|minute)|parallel)\b|\ben (?:même temps|parallèle)\b|simultané\w*|au même moment",
        r"\b(?:al mismo tiempo|a la vez|simultáne\w*|en paralelo|ao mesmo tempo|em paralelo|contemporane\w*|in parallelo|nello stesso (?:momento|minuto))\b",
        r"одновременно|параллельно|в одно и то же время|在?同时|同時に?|同一时(?:间|刻)|并发|並行|동시에",
    ),
    _saying(
        "says_busy",
        r"\b(?:is |was |stays? |still |keeps? )(?:really |legitimately )?(?:busy|working|compacting)\b|\blong[ -](?:running )?(?:task|turn|tool call|exec|compaction|job|run|command)\b|\bwhile (?:the |a |another )?(?:\w{1,12} )?(?:run|turn|task|job|compaction|tool)\b[^\n.]{0,16}\b(?:runs|is (?:running|active|working)|goes on|works)\b",
        r"\b(?:arbeitet noch|noch (?:am|beim) arbeiten|beschäftigt|lange[rn]? (?:lauf|auftrag|aufgabe|kompaktierung)|solange)\b|\b(?:occupée?|travaille encore|longue tâche)\b|\b(?:ocupad[oa]|sigue trabajando|ainda trabalha|tarefa longa|tarea larga|mientras tanto)\b|\b(?:occupato|sta ancora lavorando)\b",
        r"(?:занят|ещё работает|еще работает|долг\w{2} (?:задач|компакт))|正在(?:执行|运行|压缩|处理|工作)|还在(?:跑|执行|运行|工作)|长任务|实行中|実行中|処理中|作業中|동작 중|실행 중|작업 중",
    ),
    _saying(
        "says_lost",
        r"\b(?:messages?|repl(?:y|ies)|answers?|results?|questions?|turns?|prompts?|one|it|response)\b[^\n.]{0,50}\b(?:(?:is|are|was|were|gets?|got|be|been) (?:silently |just |simply )?(?:lost|dropped|swallowed|discarded|missing)|vanish(?:es|ed)?|disappear(?:s|ed)?|never (?:arriv|c[ao]me|appear|reach|deliver|answer|show)\w*)",
        r"\b(?:lost|lose[sd]?|losing|dropped|drops|swallow(?:s|ed)|discard(?:s|ed)) (?:\w{1,12} ){0,4}?(?:messages?|repl(?:y|ies)|answers?|results?|turns?)\b|\bno (?:reply|answer|response) (?:ever )?(?:arrive|came|come|was|is|after)\w*",
        r"\b(?:antwort|nachricht|frage|ergebnis)\w{0,3}\b[^\n.]{0,50}\b(?:verloren|verschwind\w+|verschwunden|kommt nie|kam nie|nie an|weg)\b|\b(?:perdue?s?|disparai\w+|disparu\w*|jamais arriv\w*)\b",
        r"\b(?:se (?:pierden?|perdió|perdieron|perdem?|perde|perdeu)|perdid[oa]s?|desaparec\w+|nunca lleg\w+|nunca cheg\w+|não chega\w*|va(?:nno)? pers\w|pers[ieoa]|sparisc\w+|spariti?)\b",
        r"(?:теря|потеря|пропада|пропал|исчез|не доход|не прихо)\w{0,6}|丢(?:失|了|掉)|消失|没有(?:收到|回复|送达)|收不到|失われ|消え(?:た|る|て|ま)|届か(?:ない|ず|なかった|ませ)|来(?:ない|ません|なかった)|유실|사라|오지 않|잃",
        deniable=False,
    ),
    _saying(
        "says_twice",
        r"\b(?:ran|runs?|executed|delivered|sent|posted|replied|answer(?:s|ed)?|processed|arrived|repl(?:y|ies)|came|goes out|went out|gets?|got|done|charged|called|received?)\b[^\n.]{0,50}?\btwice\b(?!\W{0,3}(?:a|per|each|every|am|pro|im|jeden|par|al|por|ao|в|за) ?(?:day|week|hour|month|night|tag|woche|stunde|monat|jour|semaine|heure|mois|d[ií]a|semana|hora|mes|mês|giorno|settimana|ora|день|неделю|час|сутки))",
        r"\btwice\b[^\n.]{0,40}?\b(?:delivered|sent|executed|run|posted|answered)\b|\btwo (?:different |identical )?(?:answers|replies|messages|emails|e-mails|executions)\b|\bboth (?:runs|answers|replies)\b",
        r"\b(?:duplicated?|double|second) (?:message|reply|replies|answer|run|execution|delivery|side effect|e-?mail|post|send)\w{0,2}\b|\b(?:re-?sent|re-?executed|(?:sent|delivered|executed|ran|run) (?:it )?again)\b",
        r"(?:\b(?:doppelt|zweimal|zwei mal|deux fois|dos veces|duas vezes|due volte)\b|дважды|два раза)(?!\W{0,3}(?:a|per|each|every|am|pro|im|jeden|par|al|por|ao|в|за) ?(?:day|week|hour|month|night|tag|woche|stunde|monat|jour|semaine|heure|mois|d[ií]a|semana|hora|mes|mês|giorno|settimana|ora|день|неделю|час|сутки))|\bzweifach\b|\ben double\b|\bduplicad\w{1,2}\b|\bdoppi[ao]\b|повторно (?:отправ|выполн)|дублир",
        r"重复(?:执行|发送|回复|投递|了)|(?:回复|发送|执行|跑|收到|发)了?(?:两|二)(?:次|遍|条)|(?<!每天)(?<!每周)两(?:次|遍)|二(?:重|回)(?:に|も|の)?(?:実行|送信|返信|届|答)?|2回|두 번|중복",
    ),
    _saying(
        "says_restart_window",
        r"\b(?:restart\w{0,3}|re-?deploy\w{0,3}|SIGTERM|SIGUSR1|upgrad\w{1,3}|updat\w{1,3}|config (?:change|edit|reload))\b[^\n.]{0,60}\b(?:while|during|in the middle|mid[- ](?:turn|run|reply)|as it was)\b|\b(?:while|during|in the middle of)\b[^\n.]{0,40}\b(?:restart|drain|shutdown|shut down|redeploy)\w{0,4}\b",
        r"\b(?:after|since|across|at|on|by|before) (?:a |the |each |every |one )?(?:gateway )?(?:restart|redeploy|reload|drain)\w{0,3}\b|\b(?:drain(?:s|ed|ing)?)\b|\bcame back\b|\brestarted (?:it|the gateway)\b|\brelaunch\w{0,2}\b",
        r"\bneustart\w{0,2}\b|\bneu gestartet\b|\bredémarr\w+|\breinici\w+|\briavvi\w+|перезапу\w+|перезагру\w+|рестарт\w*|重启|重啟|再起動|재시작|재기동",
    ),
    _saying(
        "says_run",
        r"\b(?:gateway|cron|runs?|turns?|retr(?:y|ies|ied)|time[ds]?[ -]?out|sub-?agents?|heartbeat)\b|passerelle|pasarela|шлюз|повтор|网关|重试|超时|定时|ゲートウェイ|再試行|タイムアウト|게이트웨이|시간 초과|Zeitüberschreitung",
    ),
    _saying(
        "says_fell_back",
        r"\bfall(?:s|ing|en)?[- ]?back\b[^\n.]{0,30}\b(?:to )?(?:the )?(?:embedded|local)\b|\bfell back\b[^\n.]{0,30}\b(?:embedded|local)\b|\bembedded (?:mode|fallback)\b|\b(?:runs?|ran|answers?) (?:it |the turn )?embedded\b",
        r"\b(?:eingebettet\w{0,2}|embedded)\b[^\n.]{0,40}\b(?:zurück|modus|lauf)|\bfällt\b[^\n.]{0,40}\b(?:embedded|eingebettet)|\b(?:mode|bascule\w?)\b[^\n.]{0,20}\b(?:embarqué|intégré|embedded)|\bmodo (?:embebido|incrustado|embutido|incorporado|embedded|integrado)|\bmodalità (?:incorporata|embedded|integrata)",
        r"встроенн\w{2,3}[^\n.]{0,16}(?:режим|агент|запуск)|(?:режим|запуск)[^\n.]{0,12}встроенн|(?:回退|退回|降级|切换|转)(?:到|为|至)?[^\n。]{0,8}(?:嵌入|内嵌|內嵌|embedded|本地)|(?:組み込み|埋め込み|embedded)[^\n。]{0,12}(?:フォールバック|モード|に切|で実行)|(?:내장|임베디드)[^\n.]{0,10}(?:모드|폴백|실행)",
    ),
    _saying(
        "says_refused",
        r"\bpairing (?:is )?required\b|\bscope upgrade\b|\bunauthori[sz]ed\b|\b(?:wrong|bad|invalid|expired|mismatched|stale|outdated) (?:gateway )?token\b|\btoken (?:mismatch|was wrong|is wrong|is invalid|expired)\b|\b(?:device|client) (?:is )?not (?:approved|paired)\b",
        r"\bgateway (?:\w{1,10} ){0,2}?(?:refus|reject|den(?:y|ie))\w{0,3}\b|\b(?:refused|rejected|denied) by (?:the )?gateway\b|\bgateway (?:was|is) (?:down|not running|unreachable|gone)\b",
        r"\b(?:falsche[rsmn]?|ungültige[rsmn]?) (?:gateway-?)?token\b|\bgateway\b[^\n.]{0,30}\b(?:lehnt|verweiger|weist)\w*|\b(?:jeton|token)\b[^\n.]{0,20}\b(?:invalide|erroné|expiré|mauvais|incorrect|equivocado|errado|inválido|mal configurad|sbagliato|scaduto)\w*|\b(?:passerelle|gateway)\b[^\n.]{0,20}\b(?:refus|rejett|rechaz|recus|rifiut)\w*",
        r"(?:шлюз|gateway)[^\n.]{0,20}(?:отклон|отказ|не принима)|неверн\w{2,3} токен|(?:网关|gateway)[^\n。]{0,12}(?:拒绝|未授权|不接受)|令牌(?:错误|无效|过期|不匹配)|(?:ゲートウェイ|gateway)[^\n。]{0,12}(?:拒否|拒絶|認証)|トークン(?:が)?(?:違|無効|間違)|(?:게이트웨이|gateway)[^\n.]{0,10}거부|토큰[^\n.]{0,8}(?:잘못|무효|만료)",
    ),
    _saying(
        "says_hidden",
        r"\b(?:exit(?:s|ed)?(?: code| status| with)?|code|status|returns?)(?: of| with| is)? 0\b|\bnobody (?:notice|saw|realis|realiz)\w*|\b(?:no|without (?:any|a)) (?:sign|hint|warning|error)\b|\bsilent(?:ly)?\b|\bhid(?:es|den|e|ing)\b|\bgreen\b|\bfalse(?:ly)? (?:positive|pass\w*)\b|\blooks (?:fine|ok|healthy)\b",
        r"\b(?:exit-?code|rückgabewert|status) 0\b|\bniemand (?:merkt|hat)\b|\bstillschweigend\b|\bunbemerkt\b|\bgrün\b|\b(?:code de sortie|code de retour) 0\b|\brestée? verte?\b|\bpersonne n[e']\b|\bsilencieu\w*|\bsans que rien\b|\bcódigo (?:de salida )?0\b|\bnadie\b|\bsilencios\w*|\bninguém\b|\bcodice (?:di uscita )?0\b|\bnessuno\b",
        r"код(?:ом)? (?:возврата|выхода) 0|никто не|молча|незаметно|退出码(?:为|是)? ?0|没人(?:发现|注意)|悄悄|静默|終了コード(?:は)? ?0|誰も気|黙って|종료 코드(?:는|가)? ?0|아무도|조용히",
        deniable=False,
    ),
    _saying(
        "says_all_stop",
        r"\b(?:everything|all (?:\w{1,10} )?(?:channels|sessions|chats|users|agents)|every (?:session|channel|chat)|the whole (?:gateway|process)|unrelated sessions|other sessions)\b[^\n.]{0,40}\b(?:freez|froze|stall|stop|hang|stand|block|time out|timed out|unresponsive|stuck|dead)\w*",
        r"\b(?:alles|alle (?:kanäle|sitzungen|chats))\b[^\n.]{0,40}\b(?:steht|stehen|friert|hängt|hängen|blockiert|eingefroren)|\b(?:tout|toutes les (?:sessions|conversations)|tous les canaux)\b[^\n.]{0,40}\b(?:se fige|figé|bloqu|gel|arrêt)\w*|\b(?:todo|todas las (?:sesiones|conversaciones)|todos los canales|tudo|todas as sessões|todos os canais)\b[^\n.]{0,40}\b(?:congel|bloque|par|detien|trav)\w*|\btutto\b[^\n.]{0,30}\b(?:si blocca|fermo|congel)\w*",
        r"(?:всё|все (?:сессии|каналы|чаты))[^\n.]{0,30}(?:завис|замира|стоит|стоят|встаёт)|(?:所有|全部)(?:的)?(?:会话|渠道|频道|用户|通道)?[^\n。]{0,16}(?:卡(?:住|死)|停|冻结|无响应)|(?:すべて|全て|全)(?:の)?(?:セッション|チャンネル)?[^\n。]{0,16}(?:止ま|固ま|フリーズ|応答)|(?:모든|전체)[^\n.]{0,12}(?:멈|정지|먹통)",
    ),
    _saying(
        "says_second_needed",
        r"\bsecond (?:one|container|instance|gateway|pod|process|node|machine) (?:\w{1,8} )?(?:never|does not|doesn't|cannot|can't|fails|refuses)\b|\b(?:shared|same) (?:volume|mount|state dir\w*|data dir\w*|folder)\b",
        r"\b(?:second|deuxième)\b[^\n.]{0,16}\bne (?:démarre|peut)\b|\bmême volume\b|\bvolume partagé\b|\bzweite[rs]?\b[^\n.]{0,20}\bstartet (?:nie|nicht)|\bgemeinsame\w? (?:volume|laufwerk|verzeichnis)|\b(?:segundo|segunda)\b[^\n.]{0,20}\b(?:nunca|no|não) (?:arranca|inicia|sobe|parte)|\b(?:mismo|mesmo) volumen?\b|\bvolumen? compartid|\bvolume compartilhad|второ\w{1,2}[^\n.]{0,20}не (?:запуска|старту)|общ\w{2,3} (?:том|каталог|диск)|第二个[^\n。]{0,12}(?:无法|不能|起不来|启动不了)|共享(?:卷|目录|存储)|二つ目|共有(?:ボリューム|ディレクトリ)|두 번째[^\n.]{0,12}(?:시작|뜨지)",
    ),
)
