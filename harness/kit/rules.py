"""What is private in a text: one rule per shape. Pure data.

A rule is a regular expression whose named groups are what to replace; the group's name, without trailing digits, is
the kind of pseudonym it gets. Rules look at every reading of a text (``readings``), so none knows an escape. Where two
find the same characters the earlier one counts. They would rather replace too much than too little: a kit is read by
strangers.

Every rule takes time in proportion to the text. So none begins with a run that could begin anywhere inside itself (a
look behind says where a run may begin), inner repeats are bounded or cannot be divided in two ways, and a rule is not
even tried on a text without one of its ``hints``. ``tests/security/test_redaction_time.py`` measures all of them.

``tests/harness/kit/test_redaction.py`` leaves out each rule in turn and sees a planted secret survive.
"""

# ruff: noqa: E501  a regular expression is read in one piece

from __future__ import annotations

import re
from typing import NamedTuple

from .prefixes import GROUPS, HEADS, PREFIXES


class Rule(NamedTuple):
    """``pattern``: its named groups are replaced; ``why``: for the redaction report.

    ``hints``: groups of words in lower case; a text that lacks every word of a group cannot match, so the rule is not
    tried on it. ``0`` stands for any digit, ``~`` for a blank. ``NEAR`` has such conditions that are no words.
    """

    name: str
    why: str
    pattern: re.Pattern[str]
    hints: tuple[tuple[str, ...], ...] = ()


def _rule(name: str, why: str, pattern: str, flags: int = 0, hints: str = "") -> Rule:
    return Rule(
        name,
        why,
        re.compile(pattern, flags),
        tuple(tuple(word.replace("~", " ") for word in group.split()) for group in hints.split(" & ") if group),
    )


_I = re.IGNORECASE
_M = re.MULTILINE
_S = r"[ \t]{0,8}"
_IS = rf"\\*[\"'`]?{_S}(?:=>|->|:=|[:=：]){_S}"  # after a name, which may stand in quotes
_Q = r"\\*[\"'`]?"  # a quote that opens a value, or none
_WORD = r"[^\s\"'`\\,;&<>|(){}\[\]]"
#: A value in quotes to the closing one, a block of indented lines, or one word and what more stands on its line.
_QUOTED = r"(?:\\*\"(?P<secret>(?:[^\"\\\r\n]|\\[^\r\n\"])+)|\\*'(?P<secret1>[^'\r\n]+)|`(?P<secret2>[^`\r\n]+))"
_BLOCK = r"[|>][+-]?\d?[ \t]*\r?\n(?P<secret3>(?:[ \t]+[^\r\n]+(?:\r?\n|\Z))+)"
_LINE = rf"(?:&[\w-]{{1,40}}[ \t]+)?(?P<secret4>{_WORD}{{3,}}(?:[ \t]{_WORD.replace('|', ':=|')}+(?![^\s\"'`\\,;&<>|(){{}}\[\]:=]|[:=]))*)"
_VALUE = rf"(?P<secret5>{_WORD}{{3,}})"
#: What may stand behind the word in a name: ``password_hash``, ``client-key-data``, ``TOKEN_2``.
_MORE = r"(?:e?s|[_-]?(?:hash|data|values?|id|b64|base64|enc|encrypted|encoded|string|plain|text|seed|old|new|prod|production|dev|test|main|primary|secondary|live|default|base|words?|\d{1,3}))?"
_NAMES_OF_PASSWORDS = (
    r"(?:passw(?:or)?[dt]|passwort|pass[_ -]?phrase|pass[_ -]?code|kennwort|contrase[ñn]a|mot de passe|has[łl]o|wachtwoord|l[öo]senord|senha|"
    r"парол[ья]|密码|密碼|口令|パスワード|비밀번호|(?<![a-z])pwd|_pwd|(?-i:Pwd)|[_-]pass(?![a-z])|(?-i:[a-z]Pass)(?![a-z])|(?<![a-z])pass(?=[\"']?[:=][^\s:=/]|[\"'][ \t]?:[ \t]?[\"'])|(?<![A-Za-z])psk|pre[_-]?shared[_-]?key|master[_-]?key|recovery[_ -](?:key|code|phrase)s?|seed[_ -]phrase|mnemonic|backup[_ -]codes?)"
)
_NAMED = (
    r"(?:secret|token|api[_ -]?key|access[_ -]?key|private[_ -]?key|secret[_ -]?key|account[_ -]?key|shared[_ -]?key|signing[_ -]?key|encryption[_ -]?key|"
    r"client[_ -]?key|auth[_-]?key|licen[sc]e[_ -]?key|cred(?:ential)?s?|signature|bearer|session[_-]?cookie|令牌|密钥|トークン)"
)
SECRET_NAME = f"{_NAMES_OF_PASSWORDS}|{_NAMED}"
#: Words of everyday use too: their value has to look like one.
_WEAK = r"(?:key|auth|authorization|pass|pw|pin|puk|otp|totp|mfa|2fa|code|codes|cvv2?|cvc2?|sig|sid|salt|nonce|seed|hash|hmac|license|sas|psk|community|cookie|sk|ak)"
_PASSES = "pass kennwort contrase mot has wachtwoord senord senha парол 密 口令 パスワード 비밀번호 pwd psk shared master recovery phrase mnemonic backup"
_SIGNS = ": = ： =>"
_LABELS = "aadhaar account acct ausweis bic birth blz booking born bsn card claim cnpj cpf curp customer cvc cvv date dni dob driver ein employee gate geb geboren iccid icq imei imsi insee invoice kakao kennzeichen konto kto kunde licen line medicare member nhs nie nif nin nino order pan passeport passport patient personalausweis pesel plate policy qq rechnung reisepass rfc room routing s/n serial signal sin skype sn social sort ssn steuer student swift tax telegram tin tracking viber vin wechat weixin 微信 手机 护照 电话 身份证"
_SLASH = r"[\\/]{1,8}"
_PART = r"""[^\\/\s"'`:;,|<>()\[\]{}*?]"""  # of a path
#: One part of a path that names a user; with blanks only where a slash shows that it goes on ("Max Mustermann").
_USER = rf"(?:{_PART}+(?: [A-Z]{_PART}*){{1,2}}(?=[\\/])|{_PART}+)"
#: Folders of everybody's below /root, /opt and /srv; hidden ones are programs'.
_PUBLIC_FOLDERS = r"\.[\w.-]+|homebrew|local|google|microsoft|conda|miniconda3?|anaconda3?|venv|node|nodejs|python[\d.]*|java|jdk[\w.-]*|go|rust|cuda|lib|lib64|bin|sbin|etc|share|src|app|apps|work|workspace|data|www|http|https|ftp|tftp|git|tmp|var|containerd|docker|hostedtoolcache|pipx|code|project|repo|openclaw|lockjaw"
#: Last parts of host names; of words with points in them, only those that end in one are hosts.
_TOPS = (
    "com org net edu gov mil int info biz io ai app dev cloud online site tech xyz me tv cc co eu us uk de fr es "
    "it nl be ch at dk se no fi pt cz sk hu ro gr tr ru ua cn jp kr tw hk sg in my th vn ph au nz br ar mx cl ca "
    "za ng ke il ae sa ir pl ie lu li is ee lv lt si hr rs bg id pk bd lk eg ma gg sh to ly fm im so gl local lan "
    "internal intern corp home intranet localdomain private arpa onion consul svc i2p test prod stage staging "
    "box speedport shop store blog news email museum name pro agency company group systems solutions network digital world "
    "global media software services bank health law ltd gmbh "
)
TOP_LEVELS = frozenset(_TOPS.split())
_MONTH = "Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec"

_DIGITS = r"\p{Nd}"
#: What every match of a rule contains, for RE2, which looks for all of it in one pass: most texts spare most rules.
NEAR = {
    "quoted-password": r"[\pL\p{Nd}][ \t]+\\*[\"'`]",
    "prompted": r":[ \t]*\r?\n[ \t]*>|(?i:code)s?[^\pL\p{Nd}]{0,8}\n",
    "acting-user": r"(?i:as|user|for|su -|-u|chown|adduser|useradd|usermod)[ \t]+[A-Za-z_]",
    "process-user": rf"[ \t](?:pts/|tty|console)|{_DIGITS}\.{_DIGITS}[ \t]|: TTY=",
    "chat-id": r"(?:ou|oc|on|om|og|cli|open|union)_[0-9a-f]|wxid_|gh_|[UCR][0-9a-f]{8}|npub1|nsec1|note1|nprofile1|ding",
    "tilde-user": r"~[A-Za-z_]",
    "mac": r"[0-9A-Fa-f]{2}[:-][0-9A-Fa-f]{2}[:-]|[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}\.",
    "ipv4": rf"{_DIGITS}\.{_DIGITS}{{1,3}}\.{_DIGITS}",
    "ipv6": r":[0-9A-Fa-f]{0,4}:",
    "syslog": rf"{_DIGITS}{{2}}:{_DIGITS}{{2}}:{_DIGITS}{{2}}",
    "iban": rf"[A-Za-z]{{2}}{_DIGITS}{{2}}[ A-Za-z0-9-]",
    "hex-id": r"[0-9A-Fa-f]{12}",
    "ulid": r"[0-9A-Z]{9}",
    "geo": rf"\.{_DIGITS}{{4}}|°|(?i:lat|lon|lng)",
    "grouped-digits": rf"{_DIGITS}{{2}}[ .-]{_DIGITS}{{2,6}}[ .-]{_DIGITS}",
    "digits": rf"{_DIGITS}{{9}}",
    "telegram": rf"{_DIGITS}{{6}}:",
    "email-ip": rf"@\[?(?:IPv6:)?[0-9A-Fa-f:{_DIGITS}]",
    "handle": r"@[A-Za-z_]",
    "peer": r"agent:",
    "discord": r"[\pL\p{Nd}_-]{5}\.[\pL\p{Nd}_-]{25}",
    "user-password": r"(?:-u|--user|--proxy-user|-U)[ =]",
    "two-parts": r"[0-9a-f]{12}\.[A-Za-z0-9]",
}

RULES: tuple[Rule, ...] = (
    _rule(
        "private-key", "private key blocks",
        r"(?P<secret>-{4,5} ?BEGIN [A-Za-z0-9 ]{0,40}?(?:PRIVATE|Static|SECRET) KEY[A-Za-z0-9 ]{0,20} ?-{4,5}.*?(?:-{4,5} ?END [A-Za-z0-9 ]{0,40}?(?:PRIVATE|Static|SECRET) KEY[A-Za-z0-9 ]{0,20} ?-{4,5}|\Z)"
        r"|PuTTY-User-Key-File-\d:.*?(?:Private-MAC:[ \t]*\w*|\Z))",
        re.DOTALL | _I, "begin putty",
    ),
    _rule("url-user", "user and password in a URL", r"://(?P<user>[^/\s:@\"'<>]*):(?P<secret>[^/\s\"'<>]+)@", 0, "://"),
    _rule("url-token", "a token before the host of a URL", r"://(?P<secret>[^/\s:@\"'<>]{8,})@", 0, "://"),
    _rule(
        "webhook", "paths of webhooks and bot addresses",
        r"(?:hooks\.slack\.com/(?:services|workflows|triggers)|/api/webhooks|/bot(?=\d+:)|webhook\.office\.com|hooks\.zapier\.com/hooks|bot/v2/hook|maker\.ifttt\.com/\S{0,80}?/key|chat\.googleapis\.com/v1/spaces|/(?:web)?hooks?(?=/[^\s\"'<>]{0,100}\d))/?(?P<secret>[^\s\"'<>]+)",
        _I, "hook /bot chat.googleapis maker.ifttt",
    ),
    _rule("digest", "digest credentials", r"\bDigest[ \t]+(?P<secret>\w+=\S[^\r\n]*)", _I, "digest"),
    _rule(
        "authorization", "authorization headers",
        rf"(?:authorization|x-[\w-]{{0,40}}(?:auth|token|key|secret|signature)){_IS}{_Q}(?:(?:basic|bearer|token|digest|negotiate|apikey|aws4-hmac-sha256|bot)[ \t]+)?(?P<secret>[^\r\n\"'\\]{{3,}})",
        _I, "authorization x-",
    ),
    _rule(
        "scheme", "Bearer and Basic credentials",
        r"(?<![A-Za-z])(?:bearer|basic|negotiate|apikey|api-key|bot|token|jwt)[ \t]+(?:(?P<secret>(?=[^\s]{0,400}[\d=])[\w.~+/=:-]{6,})|(?<=bearer )(?!authentication|authorization|credentials|challenge|tokens?\b|scheme)(?P<secret1>[\w.~+/=-]{8,}))",
        _I, "bearer basic negotiate apikey api-key bot token jwt",
    ),
    _rule("cookie", "cookies", rf"(?<![A-Za-z])(?:set-)?cookies?{_IS}{_Q}(?P<secret>[^\r\n\"']+)", _I, "cookie"),
    _rule("password-value", "values that are called a password", rf"{_NAMES_OF_PASSWORDS}{_MORE}{_IS}(?:{_QUOTED}|{_BLOCK}|{_Q}{_LINE})", _I, f"{_PASSES} & {_SIGNS}"),
    _rule("named-secret", "values that are called a token, key or secret", rf"{_NAMED}{_MORE}{_IS}(?:{_QUOTED}|{_BLOCK}|{_Q}{_VALUE})", _I, f"secret token key cred signature bearer cookie 令牌 密钥 トークン & {_SIGNS}"),
    _rule(
        "weak-name", "values under names that are often used for secrets, if they look like one",
        rf"{_WEAK}{_MORE}{_IS}{_Q}(?P<secret>(?=[^\s\"'`\\,;&<>|(){{}}\[\]]{{0,400}}\d)(?![\d.:/-]+(?:s|ms)?(?![\w-])|sha\d+:)[^\s\"'`\\,;&<>|(){{}}\[\]]{{6,}})", _I,
        f"key auth pass pw pin puk otp mfa 2fa code cvv cvc sig sid salt nonce seed hash hmac license sas psk community cookie session ticket access sk ak & {_SIGNS} & 0",
    ),
    _rule(
        "element", "values in elements of XML and in tables of pages",
        rf"<[\w:.-]{{0,60}}(?:{_NAMES_OF_PASSWORDS}|{_NAMED}){_MORE}[^<>]{{0,80}}>[ \t]{{0,8}}(?P<secret>[^<>\r\n]{{3,}})"
        rf"|(?:{_NAMES_OF_PASSWORDS}|{_NAMED}){_MORE}[ \t]{{0,8}}:?[ \t]{{0,8}}</\w{{1,20}}>\s{{0,40}}<(?!/)[^<>]{{1,200}}>\s{{0,40}}(?P<secret1>[^<>\r\n]{{3,}})"
        r"|\btype=[\"']?password\b[^<>]{0,200}?\bvalue=[\"']?(?P<secret2>[^<>\"'\r\n]{3,})", _I, "< & >",
    ),
    _rule(
        "pair", "a value whose name stands under a name of its own",
        rf"(?:{_NAMES_OF_PASSWORDS}|{_NAMED}|[_-]key){_MORE}\\*[\"']?[\s,{{]{{1,40}}-?[ \t]{{0,8}}\\*[\"']?(?:value|val|content|data|default)\\*[\"']?[ \t]{{0,8}}[:=][ \t]{{0,8}}(?:{_BLOCK}|\\*[\"']?(?P<secret>[^\s\"'\\,;}}]{{3,}}))", _I, "value val content data default",
    ),
    _rule(
        "pair-of-two", "a value beside its name in a list of two",
        rf"[\[(][ \t]{{0,8}}\\*[\"'][\w-]{{0,40}}?(?:{_NAMES_OF_PASSWORDS}|{_NAMED}|authorization|api-key){_MORE}\\*[\"'],\s{{0,8}}\\*[\"'](?P<secret>[^\"'\\\r\n]{{3,}})\\*[\"'],?\s{{0,8}}[\])]", _I, "[ ( & ,",
    ),
    _rule("one-time", "codes that are used once", r"(?<![A-Za-z])(?:pin|otp|tan|puk|(?:your|verification|security|access|login|confirmation|einmal|sms)[ -]?(?:code|pin))(?:[ \t]+(?:is|ist|lautet|es|est))?[ \t]*[:=]?[ \t]*[\"']?(?P<number>\d{4,8}|\d{3}[ -]\d{3})(?![\d.])|(?<!\d)(?P<number1>\d{4,8})(?= is your)", _I, "0 & pin otp tan puk code your"),
    _rule(
        "flag-secret", "secrets behind a flag of a command line",
        rf"(?<![\w-])--?[\w-]*(?:token|secret|password|passwd|pass|pwd|api-?key|access-?key|private-?key|secret-?key|psk|passphrase|credentials?)(?:[ \t]+|=)(?!-)(?:\"(?P<secret>[^\"\r\n]+)|'(?P<secret1>[^'\r\n]+)|(?P<secret2>{_WORD}{{3,}}))",
        _I, "-",
    ),
    _rule(
        "short-flag", "passwords behind the short flags of programs that are known to have them",
        rf"\b(?:docker|podman|helm|buildah|skopeo|mysql|mysqldump|mysqladmin|mariadb|sshpass|mongo|mongosh|mongodump|redis-cli|smbclient|ldapsearch|ldapmodify|7z|7za|zip|unzip|plink|pscp|psftp|xfreerdp|rdesktop|sqlcmd|bcp|isql|sqlplus|mosquitto_[ps]ub|htpasswd|ftp|lftp|net use|cifs|az|oc|cf|kinit|vncviewer|snmp\w{{1,8}})\b[^\r\n|;&]{{0,120}}?[ \t](?:-p|-a|-P|-w|-W|-y|-c|-A|/p:|/pass:)[ =:]?(?:\"(?P<secret>[^\"\r\n]+)|'(?P<secret1>[^'\r\n]+)|(?P<secret2>(?![\d.:/]+(?![\w-]))(?!-)(?=\S{{0,60}}[a-z\d]){_WORD}{{4,}}))",
        0, "-p -a -w -y -c /p",
    ),
    _rule("short-user", "user names behind the short flags of programs", r"\b(?:docker|podman|helm|mysql|mysqldump|mariadb|redis-cli|mongo|mongosh|psql|mosquitto_[ps]ub|smbclient|ssh|scp|sftp|rsync|curl|wget)\b[^\r\n|;&]{0,120}?[ \t](?:-u|-l|-U|--user|--username)[ =](?P<user>[A-Za-z_][\w.-]{2,})(?![:\w])", 0, "-u -l --user"),
    _rule("curl-user", "USER:PASSWORD glued to curl's -u", r"\bcurl\b[^\r\n|;&]{0,120}?[ \t]-[A-Za-z]{0,6}u(?P<user>[A-Za-z_][^\s:\"']*):(?P<secret>[^\s\"']+)", 0, "curl"),
    _rule("secure-string", "passwords given to PowerShell", r"ConvertTo-SecureString(?:[ \t]+-String)?[ \t]+\\*(?:\"(?P<secret>[^\"\\\r\n]+)|'(?P<secret1>[^'\\\r\n]+))", _I, "convertto-securestring"),
    _rule("vpn", "users and passwords of OpenVPN", r"auth-user-pass[ \t]+(?P<user>[^\s\"'/]+)[ \t]+(?P<secret>[^\s\"']+)", 0, "auth-user-pass"),
    _rule("long-key", "long values of one word under the name of a key", rf"(?:key|pwd|pass(?:word)?|token)\\*[\"'`]?\]?(?:{_IS}|[ \t]{{0,8}}::[ \t]{{0,8}}|[ \t]{{1,8}})\\*[\"'`]?(?P<secret>[\w+/=-]{{40,}})", _I, "key pwd pass token"),
    _rule("identified", "passwords in SQL", r"identified[ \t]+(?:with[ \t]+\S+[ \t]+)?by[ \t]+\\*[\"'](?P<secret>[^\"'\\\r\n]+)|(?:password|crypt|pgp_sym_(?:en|de)crypt)\([ \t]{0,8}\\*[\"'](?P<secret1>[^\"'\\\r\n]+)", _I, "identified password( crypt("),
    _rule(
        "typed", "passwords that a script types for somebody",
        r"\b(?:echo|printf)[ \t]+(?:-\w+[ \t]+)?\\*[\"']?(?P<secret>[^|\r\n\"'\\]{3,200}?)\\*[\"']?[ \t]*(?:\\n[\"'][ \t]*)?\|[ \t]*[^|\r\n]{0,80}?(?:sudo[ \t]+(?:-\w+[ \t]+){0,4}-\w*S|passphrase-fd|password-stdin|--stdin|with-token|chpasswd|cryptsetup|kinit|-pass[ \t]+stdin|smbpasswd)"
        r"|assword:?[ \t]?[\"'][^\r\n]{0,40}?\bsend(?:line)?[ \t(]+(?:--[ \t]+)?\\*[\"'](?P<secret1>[^\"'\\\r\n]{3,})", _I, "echo printf send",
    ),
    _rule("quoted-password", "passwords in quotes, as in sentences", rf"{_NAMES_OF_PASSWORDS}(?:[ \t]+(?:is|was|ist|lautet|es|est))?[ \t]+(?:\\*\"(?P<secret>[^\"\\\r\n]+)|\\*'(?P<secret1>[^'\\\r\n]+)|`(?P<secret2>[^`\r\n]+))", _I, f"{_PASSES} & ~\" ~' ~`"),
    _rule(
        "told-secret", "secrets that somebody tells in a sentence",
        rf"(?:{_NAMES_OF_PASSWORDS}|\bpin|\botp|\b(?:verification|security|access|login|confirmation|einmal)[ -]?code|\bcode|\bapi key|\btoken|\bsecret|\bkey|\bpw|密码|口令)[ \t]*(?:is|was|are|ist|lautet|war|es|est|é|to|это|now|是|为|為|:|=|,|-)[ \t]*:?[ \t]*[\"'`]?"
        r"(?P<secret>(?=[^\s\"'`,;]{0,200}\d)[^\s\"'`,;]{4,})", _I, f"{_PASSES} pin otp code key token secret pw & is was are ist lautet war es est é to это now 是 为 為 : = , - & 0",
    ),
    _rule(
        "told-password", "passwords of letters alone in a sentence",
        rf"{_NAMES_OF_PASSWORDS}[ \t]+(?:is|was|ist|lautet|war|es|est|now|becomes|(?:used to|will|should|must) be|(?:set|reset|changed) to)[ \t]*:?[ \t]*[\"'`]?"
        r"(?P<secret>(?!(?:not|no|wrong|incorrect|invalid|required|missing|expired|empty|set|unset|too|the|an?|correct|valid|null|none|undefined|stored|used|saved|kept|needed|protected|hashed|encrypted|unknown|falsch|nicht|leer|abgelaufen|still|never|always|only|now|being|been|in|on|at|from|to|by|for|with|used to be)\b)[^\s\"'`,;.]{4,}(?:[ \t][a-z]{3,}){0,7})",
        _I, f"{_PASSES} & is was ist lautet war es est now becomes be set changed",
    ),
    _rule(
        "told-for", "passwords for something, in a note",
        rf"(?:{_NAMES_OF_PASSWORDS}|\bpw)[ \t]+(?:for|of|on|für|von|pour|de|para)[ \t]+[^\r\n:=]{{1,40}}?(?::|=|\bis\b|\bist\b)[ \t]*[\"'`]?(?P<secret>[^\s\"'`,;]{{3,}})"
        r"|\b(?:log ?in|logging in|credentials?|creds|zugang|account)(?:[ \t]+(?:with|as|using|is|are|mit))?:?[ \t]+(?P<user>[A-Za-z_][\w.@+-]{1,63})[ \t]*/[ \t]*(?P<secret1>[^\s\"'`,;/]{4,})(?![\w/])", _I,
        "pass pw login log~in logging cred zugang account & for of on für von pour de para /",
    ),
    _rule("directive", "passwords that configurations and protocols set without a sign", rf"(?:(?<![\w-])(?:requirepass|masterauth|snmp-server community|rpcpassword|enable (?:secret|password)(?: \d)?|auth-pass \S+)|^[ \t>]*(?:C:[ \t]*)?PASS(?=[ \t]+\S+[ \t]*\r?$))[ \t]+\\*[\"']?(?P<secret>[^\s\"']{{3,}})|\b(?:user[ \t]+(?P<user>\S{{2,64}})[ \t]+)?insecure-password[ \t]+(?P<secret1>\S+)|\b(?:proxy_set_header|add_header|fastcgi_param|RequestHeader[ \t]+(?:set|add)|SetEnv|setenv|http-request set-header)[ \t]+[\w-]{{0,40}}?(?:{_NAMED}|authorization|auth|[_-]key|password){_MORE}[ \t]+\\*[\"']?(?P<secret2>[^\s\"';]{{3,}})", _M | _I, "requirepass masterauth snmp-server rpcpassword enable auth-pass pass insecure proxy_set add_header fastcgi requestheader setenv http-request"),
    _rule("protocol-login", "users and passwords as mail servers and stores hear them", r"\b\w{1,10} LOGIN[ \t]+\\*\"?(?P<user>[^\s\"\\]{2,64})\\*\"?[ \t]+\\*\"?(?P<secret>[^\s\"\\]{3,})|^[ \t>]*(?:C:[ \t]*)?USER[ \t]+(?P<user1>\S{2,64})[ \t]*\r?$|^[ \t>]*(?:C:[ \t]*)?AUTH[ \t]+(?:(?P<user2>(?!PLAIN|LOGIN|XOAUTH|CRAM|NTLM|GSSAPI)[\w.-]{2,64})[ \t]+)?(?P<secret1>(?!PLAIN|LOGIN|XOAUTH|CRAM|NTLM|GSSAPI|TLS|failed)\S{3,})[ \t]*\r?$|\b334[ \t]+(?:UGFzc3dvcmQ6|VXNlcm5hbWU6)\s{1,4}(?:C:[ \t]*)?(?P<secret2>\S{4,})", _M, "login user auth 334"),
    _rule("called-with", "users and passwords given to a function", r"\b(?:mysqli(?:_connect)?|DBI->connect|PDO|oci_connect|mysql_connect|getConnection|basic_?auth|HTTPBasicAuth|HTTPDigestAuth|login|ftp_login|authenticate)\([ \t]{0,8}(?:[\w.$]{1,60},[ \t]{0,8}|\\*[\"'][^\"'\r\n\\]{0,200}\\*[\"'],[ \t]{0,8})?\\*[\"'](?P<user>[^\"'\r\n\\]{2,64})\\*[\"'],[ \t]{0,8}\\*[\"'](?P<secret>[^\"'\r\n\\]{3,})", _I, "mysql connect( pdo( getconnection auth( login( authenticate("),
    _rule("prompted", "what is typed at a prompt for a password, and lists of codes", rf"{_NAMES_OF_PASSWORDS}:[ \t]*\r?\n[ \t]*>[ \t]?(?P<secret>[^\s]+)|(?:backup|recovery|scratch|emergency|one-time)[ _-]?codes?\\*[\"']?[ \t]*[:=]?[ \t]*\r?\n(?P<secret1>(?:[ \t]*(?:[-*•]|\d{{1,2}}[.)])?[ \t]*\w{{3,12}}(?:[ -]\w{{3,12}}){{1,5}}[ \t]*(?:\r?\n|\Z)){{1,20}})", _I, f"{_PASSES} codes code"),
    _rule("netrc", "passwords in .netrc", r"\blogin\s{1,40}(?P<user>\S+)\s{1,40}(?:password|account)\s{1,40}(?P<secret>\S+)", _I, "login"),
    _rule("pgpass", "lines of .pgpass", r"(?<![\w.:/-])(?P<host>[A-Za-z*][\w.-]*):(?:\d{3,5}|\*):[\w.*-]{1,100}:(?P<user>[\w.-]{1,100}):(?P<secret>[^\s:]+)", 0, ":"),
    _rule("user-password", "USER:PASSWORD behind -u", r"(?:^|\s)(?:-u|--user|--proxy-user|-U)[ =]\\*[\"']?(?P<user>[^\s:\"']+):(?P<secret>[^\s\"']+)", 0, "-u --"),
    _rule("pair-at", "USER:PASSWORD@HOST", r"(?<![\w.:/@-])(?P<user>[A-Za-z_][\w.-]{0,40}):(?P<secret>[^\s:@/\"'<>]{3,80})@(?=[A-Za-z\d\[])", 0, ": & @"),
    _rule("vault", "tokens behind a login", r"\b(?:vault|op|bw|gh|npm|az|doctl|heroku|fly|railway)[ \t]+(?:auth[ \t]+)?(?:login|signin|unlock)[ \t]+(?!-)(?P<secret>[^\s\"'\\,;|&]{6,})", 0, "login signin unlock"),
    _rule("hash", "password hashes", r"(?P<secret>\$(?:2[abxy]?|1|5|6|7|y|gy|apr1|argon2\w{0,2}|scrypt|pbkdf2[\w-]{0,20}|bcrypt[\w-]{0,20})\$[\w./+=,$-]{8,}|\{(?:S?SHA\d{0,3}|SMD5|CRYPT|PBKDF2\w*)\}[\w+/=$.-]{8,}|pbkdf2:\w+:\d+\$[\w+/=$.-]+|pbkdf2_\w+\$[\w+/=$.-]+|scrypt:[\d:]+\$[\w+/=$.-]+)", _I, "$ {s {c {p"),
    _rule("passwd-line", "users of shadow and password files", r"^(?P<user>[A-Za-z_][\w.-]{0,60}):(?:[x*!]{1,2}|\$[^:\s]{4,400}):\d*:\d*:(?P<name>[^:\r\n]{0,200})(?=:)", _M, ":"),
    _rule("query", "keys in the query of an address", r"[?&;](?:key|auth|sig|code|state|sid|s|t|hash|ticket|nonce|jwt|otp|pwd?|access|sv|se|skoid|sktid|auth_?key|[a-z-]*signature|[a-z-]*credential)=(?P<secret>[^&\s\"'<>#]{4,})", _I, "="),
    _rule("jwt", "JSON web tokens", r"(?P<secret>(?<![A-Za-z0-9])eyJ[\w-]{5,}\.[\w-]+(?:\.[\w-]*){0,3})", 0, "eyj"),
    _rule("base64-json", "base64 of JSON", r"(?P<secret>(?<![A-Za-z0-9+/])(?:eyJ|eyAi|ewog|W3si|WyJ)[A-Za-z0-9+/_-]{12,}={0,2})", 0, "eyj eyai ewog w3si wyj"),
    _rule("telegram", "Telegram bot tokens", r"(?P<secret>\d(?<!\d\d)\d{5,11}:[A-Za-z0-9_-]{30,})", 0, ": & 0"),
    _rule("discord", "Discord bot tokens", r"(?<![\w.-])(?P<secret>[\w-]{18,30}\.[\w-]{5,8}\.[\w-]{25,})", 0, "."),
    _rule("vendor", "keys by their makers' prefixes", rf"(?<![A-Za-z0-9])(?=[A-Za-z0-9])(?P<secret>{PREFIXES})", 0, HEADS),
    _rule("key-shape", "keys by their shapes", rf"(?<![A-Za-z0-9])(?P<secret>{GROUPS})"),
    _rule("two-parts", "keys of two parts with a point", r"(?<![\w.-])(?P<secret>[0-9a-f]{32}\.[A-Za-z0-9]{16})(?!\w)", 0, ". & 0"),
    _rule(
        "jid", "WhatsApp addresses",
        r"(?P<number>\d(?<!\w\d)\d{4,}(?:[-:.]\d+){0,3})@(?:s\.whatsapp\.net|g\.us|c\.us|lid|newsletter|broadcast)\b", 0, "@s. @g. @c. @lid @newsletter @broadcast",
    ),
    _rule("matrix", "Matrix addresses", r"(?<![\w@])[@!#](?P<user>[\w.=/+-]+):(?P<host>[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+)", 0, "@ ! #"),
    _rule("teams", "conversations of Teams and Skype", r"(?P<id>\b(?:19|28|29|8):[\w.:-]{6,}@(?:thread|unq)\.\w+(?:\.\w+)*|\blive:[\w.:-]{4,})", 0, "@thread @unq live:"),
    _rule(
        "peer", "whom a session key names",
        r"\bagent:[\w.-]+:[\w-]+:(?:[\w-]+:)?(?:direct|dm|group|channel|thread|room|topic|peer|user):(?P<id>[^\s:\"'\\,;)\]}]{3,})", 0, "agent:",
    ),
    _rule("chat-id", "ids of chat services by their makers' prefixes", r"(?<![A-Za-z0-9])(?P<id>(?:ou|oc|on|om|og|cli|open|union)_[0-9a-f]{12,}|wxid_\w{6,}|gh_[0-9a-f]{12}|[UCR][0-9a-f]{32}|(?:npub|nsec|note|nprofile)1[0-9a-z]{20,}|dingtalk_\w{6,}|ding[0-9a-z]{16,})"),
    _rule("mention", "people who are mentioned", r"<@[!&]?(?P<id>\w{5,})(?:\|(?P<user>[^>\r\n]{1,80}))?>", 0, "<@"),
    _rule(
        "handle", "names behind an @",
        r"@(?<![\w.@/:+-]@)(?P<user>(?=\w{0,40}[\d_])[A-Za-z_]\w{4,31})(?![\w@/(-]|\.\w)", _I, "@",
    ),
    _rule(
        "handle-told", "names behind an @ in a sentence",
        r"\b(?:from|by|to|cc|hi|hey|hello|thanks|user|dm|ping|telegram|twitter|instagram|github|follow|contact|ask)[: ]{1,3}@(?P<user>[A-Za-z_][\w.-]{2,31})", _I, ":@ ~@",
    ),
    _rule("profile", "pages of people", r"(?:\bt\.me|telegram\.me|wa\.me|twitter\.com|\bx\.com|instagram\.com|facebook\.com|linkedin\.com/in|github\.com|gitlab\.com|bitbucket\.org|tiktok\.com|medium\.com|keybase\.io|reddit\.com/u(?:ser)?|steamcommunity\.com/id|discord\.gg|line\.me/ti/p|huggingface\.co)/[@~+]?(?P<user>[\w.-]{2,})", _I, ".me/ .com/ .org/ .io/ .gg/ .co/"),
    _rule("sender", "names in the head of a mail", r"\b(?:From|To|Cc|Bcc|Reply-To|Sender|Author|Committer|[A-Z][\w-]{2,20}-by):[ \t]*\\*\"?(?P<user>[^\W\d_][^<>\"\n@\\]{1,60}?)\\*\"?[ \t]*<", 0, "<"),
    _rule("email", "e-mail addresses", r"(?<![\w.+!#$&*^{|}~-])(?P<email>[\w.+!#$&*^{|}~'-]+@(?:[^\W_](?:[\w-]*[^\W_])?\.)+[^\W\d_](?:[\w-]*[^\W_])?)", 0, "@"),
    _rule("email-quoted", "e-mail addresses in quotes", r"(?<![\w\"])\"(?P<email>[^\"\r\n@]{1,60}\"@[\w-]+(?:\.[\w-]+)+)", 0, "\"@"),
    _rule("dn", "names in a directory", r"(?<![A-Za-z])(?:cn|uid|ou|dc|samaccountname)=(?P<name>[^,;:\s\"'=](?:[^,;:\"'=\r\n]{0,60}[^,;:\"'=\s])?)(?=,|;|\s|[\"':]|$)", _I, "cn= uid= ou= dc= samaccountname="),
    _rule("email-utf7", "e-mail addresses in UTF-7", r"(?<![\w.-])(?P<email>[\w.-]+\+AEA-[\w-]+(?:\.[\w-]+)+)", 0, "+aea-"),
    _rule("email-ip", "e-mail addresses at numbers", r"(?<![\w.+-])(?P<user>[\w.+-]+)@\[?(?:IPv6:)?(?P<ip>\d{1,3}(?:\.\d{1,3}){3}|[0-9A-Fa-f:]{3,40})\]?", 0, "@"),
    _rule("email-told", "e-mail addresses that hide from robots", r"(?<![\w.+-])(?P<email>[\w.+-]+[ \t]?(?:[\[({<][ \t]?(?:at|@)[ \t]?[\])}>]|[ \t]at[ \t])[ \t]?[\w-]+(?:[ \t]?(?:[\[({][ \t]?(?:dot|\.)[ \t]?[\])}]|[ \t]dot[ \t])[ \t]?[\w-]+)+)", _I, "dot (.) [.]"),
    _rule("email-at", "e-mail addresses with (at)", r"(?<![\w.+-])(?P<email>[\w.+-]+[ \t]?[\[({<][ \t]?(?:at|@)[ \t]?[\])}>][ \t]?[\w-]+(?:\.[\w-]+)+)", _I, "at) at] at} at> @) @]"),
    _rule(
        "home-user", "user names in paths to a home",
        rf"{_SLASH}(?:(?:home\d{{0,2}}|Users|Documents and Settings|DOCUME~\d|Profiles|homes|media|people|staff|students|vol/home|per-user|var/mail|spool/mail|cron/crontabs|nethome|afs/\w+/user)\$?(?![\w.-])){_SLASH}(?!Users|Public|shared|all users|default user|per-user)(?P<user>{_USER})", _I,
        "home users settings docume profiles per-user mail crontabs media people staff students",
    ),
    _rule("own-folder", "folders of root's, and of programs of somebody's own", rf"(?<![\w.])/(?:root|opt|srv)/(?P<name>(?!(?:{_PUBLIC_FOLDERS})(?![\w-])){_PART}{{3,}})(?=/)", 0, "/root/ /opt/ /srv/"),
    _rule("windows-user", "users as whoami shows them", r"(?<![\w-])(?:DESKTOP|LAPTOP|WIN|PC|SRV|EC2AMAZ)-[A-Z0-9]{5,15}\\+(?P<user>[A-Za-z][\w.-]{2,})", 0, "-"),
    _rule("tilde-user", "user names after ~", r"(?<![\w/~])~(?P<user>[A-Za-z_][\w.-]+)(?=[/\\])"),
    _rule("slug-user", "user names in paths that became names", r"-(?:home|Users)-(?P<user>[^-/\\\s\"']+)(?=-|$|\s)", 0, "-home- -users-"),
    _rule("mac-folder", "the user's folder of macOS", rf"/var/folders/(?P<id>{_PART}+/{_PART}+)", 0, "/var/folders/"),
    _rule("volume", "names of volumes", rf"/(?:Volumes|mnt|media/\w+)/(?P<name>(?![a-z]/|wsl){_PART}{{3,}})|[\\/](?:OneDrive|SharePoint|Dropbox|Nextcloud|Google Drive)[ \t]?(?:-[ \t]?|\()(?P<name1>[^\\/\"'\r\n<>|:*?()]{{2,60}})(?=[\\/)])", 0, "/volumes /mnt /media onedrive sharepoint dropbox nextcloud google~drive"),
    _rule("unc", "servers and shares in UNC paths", rf"(?<![\\\w:])\\{{2,8}}(?P<host>[\w][\w.-]*)\\+(?P<name>{_PART}+)", 0, "\\"),
    _rule("uid", "users as id(1) shows them", r"\b(?:uid|gid|euid|groups)=\d{1,10}\((?P<user>[^()\s]{1,64})\)|,\d{1,10}\((?P<user1>[^()\s]{1,64})\)|\b(?:CRON|crond|atd|anacron)\[\d{1,8}\]: \((?P<user2>[^()\s]{1,64})\)", 0, "id= groups= cron atd"),
    _rule("connecting-user", "users whose connection a server notes", r"\buser[ \t]+(?P<user>[A-Za-z_][\w.@\\-]{1,63})[ \t]+(?:from[ \t]+)?(?=[0-9A-Fa-f:.]{3,40}[ \t]+port[ \t])", 0, "user & port"),
    _rule("denied-user", "users in quotes", r"(?<![A-Za-z])(?:user|role|account|login)[ \t]+\\*[\"'](?P<user>[^\"'\r\n\\]{2,64})\\*[\"'](?:@\\*[\"'](?P<host>[^\"'\r\n\\%]{2,80})\\*[\"'])?|^[ \t]*%?(?P<user1>[a-z_][\w.-]{1,31})[ \t]+ALL[ \t]?=", _I | _M, "user role account login all= all~="),
    _rule("ssh-config", "users and hosts of ssh's configuration", r"^[ \t]+(?:User[ \t]+(?P<user>[A-Za-z_][\w.-]+)|HostName[ \t]+(?P<host>[\w.:-]+))[ \t]*\r?$|^Host[ \t]+(?P<host1>[\w.-]{3,})(?=[ \t]*\r?\n[ \t]+[A-Z]\w+[ \t])", _M, "user host"),
    _rule("temp-user", "users in names of temporary folders", r"/(?:pytest-of-|ssh-|systemd-private-|com\.apple\.launchd\.)(?P<user>[A-Za-z_][\w.-]*)|/tmp/(?P<user1>[a-z_][\w.-]{1,31}?)-\d{3,5}(?=/|$|\s)", 0, "/pytest-of- /tmp/ /ssh- /systemd"),
    _rule("process-user", "users as ps, who and sudo show them", r"(?<![\w.-])(?P<user>[a-z_][\w-]{1,31})(?:[ \t]+(?:pts/\d|tty\w|console[ \t])|[ \t]+\d{1,7}[ \t]+\d{1,3}\.\d[ \t]+\d{1,3}\.\d|[ \t]*: TTY=)", 0, "pts/ tty console . :"),
    _rule("acting-user", "users who log in", r"\b(?:(?:logged|signed|log|sign) ?in as|login as|running as|session (?:opened|closed) for user|(?:invalid|illegal) user|(?:publickey|password|keyboard-interactive/pam) for|(?:failed|failure|granted|opened|denied) (?:for|to) (?:user )?|su -|sudo -u|chown|adduser|useradd|usermod)[ \t]*(?<=[ \t])(?!invalid|illegal|the |an? |all |any |this |that |it |its |user |session )(?P<user>[A-Za-z_][\w.-]+)", _I, "as user for su sudo chown adduser usermod"),
    _rule("listing", "owners of files", r"[-dlbcps][rwxsStT-]{9}[+@.]?[ \t]+\d{1,6}[ \t]+(?P<user>[^\s]+)[ \t]+(?P<user1>[^\s]+)[ \t]+\d", 0, "r-x r-- rw- --- rwx"),
    _rule(
        "user-value", "values that are called a user",
        rf"(?<![a-z])(?:(?:[a-z]+[_-])?user(?:[_ -]?(?:name|id))?|usr|logname|login|sudo_user|uid|owner|account[_ -]?name|screen[_-]?name|nick(?:name)?|handle|author|pguser|pg_user){_IS}{_Q}(?P<user>[A-Za-z_\u00c0-\uffff][\w.-]{{2,}})", _I,
        "user usr logname login uid owner account name nick handle author",
    ),
    _rule(
        "person-value", "values that are called a name of a person",
        rf"(?<![a-z])(?:full|first|last|family|given|display|middle|maiden|contact|customer|patient|sur|employee|real|legal|source|sender|push|notify|profile|recipient|from|member|owner)[_ -]?name{_IS}(?:\\*\"(?P<user>[^\"\\\r\n]{{2,80}})|\\*'(?P<user1>[^'\\\r\n]{{2,80}})|(?P<user2>[^\W\d_][\w.'-]+(?:[ \t][^\W\d_][\w.'-]+){{0,3}}))", _I, "name",
    ),
    _rule("greeting", "people who are greeted", r"\b(?:Dear|Hi|Hello|Hey|Hallo|Liebe|Lieber|Cher|Ch[èe]re|Hola|Estimad[oa]|Ciao)[ \t]+(?P<user>[A-ZÀ-Þ][^\W\d_]{1,30}(?:[ \t][A-ZÀ-Þ][^\W\d_]{1,30})?)(?=[,!.]|[ \t]*[\r\n])", 0, "dear hi he ha lieb ch hola estimad ciao"),
    _rule("titled", "people with a title", r"\b(?:Mr|Mrs|Ms|Miss|Dr|Prof|Herr|Frau|Monsieur|Madame|Mme|Señora?|Sr|Sra)\.?[ \t]+(?P<user>[A-ZÀ-Þ][^\W\d_]{1,30}(?:[ \t-][A-ZÀ-Þ][^\W\d_]{1,30}){0,2})", 0, "mr ms miss dr prof herr frau mon mad mme señ sr"),
    _rule(
        "host-value", "values that are called a host",
        rf"(?<![a-z])(?:(?:[a-z]+[_-])?host(?:[_-]?name)?|computer(?:[_-]?name)?|node[_-]?name|machine|server(?:[_-]?name)?|data[_ ]source|bucket|cluster|namespace|workspace|tenant|project(?:[_ -]?id)?|e?ssid|vpn|gateway[_-]host|subscription){_IS}{_Q}(?:(?:tcp|np|lpc):)?(?P<host>[A-Za-z0-9][\w.-]+)", _I,
        "host name computer machine server source bucket cluster tenant project ssid space vpn subscription",
    ),
    _rule(
        "prompt", "USER@HOST",
        r"(?<![\w.@/:+-])(?P<user>[A-Za-z_][\w.-]*)@(?!latest\b|next\b|beta\b|v?\d)(?P<host>[A-Za-z][\w-]*[A-Za-z0-9])(?![\w@])", 0, "@",
    ),
    _rule(
        "syslog", "hosts of log lines",
        rf"(?:^|[\s>])(?:(?:{_MONTH})[ \t]+\d{{1,2}}[ \t]\d\d:\d\d:\d\d|\d{{4}}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{{1,9}})?(?:Z|[+-]\d\d:?\d\d))[ \t](?P<host>(?!\[)[A-Za-z][\w.-]*)[ \t](?=[\w./()-]+(?:\[\d+\])?:|[\w./-]+[ \t]+\d+[ \t])", _M, ":",
    ),
    _rule("uname", "the machine that uname names", r"\b(?:Linux|Darwin|FreeBSD|OpenBSD|NetBSD|SunOS|AIX|CYGWIN_\S{1,20}|MINGW\S{1,20})[ \t]+(?P<host>[A-Za-z][\w.-]*)[ \t]+\d+\.\d+", 0, "linux darwin bsd sunos aix cygwin mingw"),
    _rule("lease", "machines that an address is lent to", r"DHCP[A-Z]{2,10}\b[^\r\n]{0,80}?(?:[0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}[ \t]+\(?(?P<host>[A-Za-z][\w.-]*)", 0, "dhcp"),
    _rule("unresolved", "hosts that are not found", r"\b(?:ENOTFOUND|EAI_AGAIN|ENODATA|ESERVFAIL)[ \t]+(?P<host>[A-Za-z0-9][\w.-]+)|(?<![A-Za-z])(?:(?:resolve|resolving|lookup|unknown|to|on)[ \t]+host(?:name)?)[ \t]*:?[ \t]*\\*[\"']?(?P<host1>(?=[\w.]{0,60}[-.\d])[A-Za-z0-9][\w.-]{2,})", _I, "enotfound eai_again enodata eservfail host"),
    _rule("host-and-address", "a machine before its address", r"(?<![\w./@-])(?P<host>[A-Za-z][\w.-]{1,})/(?=(?:\d{1,3}\.){3}\d{1,3}(?![\w./]))", 0, "/ & . & 0"),
    _rule("last-login", "where somebody logged in from", r"\b[Ll]ast (?:failed )?login:[^\r\n]{0,60}? from (?P<host>[A-Za-z][\w.-]*)", 0, "ast login: ast~failed"),
    _rule("hosts-line", "lines of /etc/hosts", r"^[ \t]*(?:\d{1,3}\.){3}\d{1,3}[ \t]+(?P<host>[A-Za-z][\w.-]*)(?:[ \t]+(?P<host1>[A-Za-z][\w.-]*))?[ \t]*$", _M, "."),
    _rule("mac", "hardware addresses", r"(?P<mac>[0-9A-Fa-f](?<![A-Za-z0-9:-].)[0-9A-Fa-f](?:[:-][0-9A-Fa-f]{2}){5}(?:[:-][0-9A-Fa-f]{2}){0,2})(?![A-Za-z0-9:-])|(?P<mac1>[0-9A-Fa-f](?<![A-Za-z0-9.].)[0-9A-Fa-f]{3}\.[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4})(?![\w.])", 0, ": - ."),
    _rule("ipv4", "IPv4 addresses that are not loopback", r"(?P<ip>\d(?<!\d\d)(?<!\d\.\d)\d{0,2}(?:\.\d{1,3}){3})(?!\d|\.\d)", 0, ". & 0"),
    _rule("ip-dashed", "IPv4 addresses in names of machines", r"(?<![A-Za-z0-9])(?P<host>(?:[A-Za-z][A-Za-z0-9]{1,15}-){1,2}(?:\d{1,3}-){3}\d{1,3})(?![\d-])|(?<![\w-])(?P<host1>(?:\d{1,3}-){3}\d{1,3})(?=\.[a-z])", 0, "-"),
    _rule("ipv6", "IPv6 addresses that are not loopback", r"(?<![A-Za-z0-9:.])(?P<ip>[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}(?:\.\d{1,3}){0,3})(?:%\w{1,20})?(?:(?![A-Za-z0-9:])|(?=:\d{5}(?![A-Za-z0-9:])))", 0, ":"),
    _rule("url-host", "hosts of URLs", r"(?<![a-z0-9+.-])[a-z][a-z0-9+.-]*:/{2,3}(?:[^/\s@\"'\\]*@)?(?P<host>[^\W_][\w.-]*)", _I, "://"),
    _rule("git-path", "repositories", r"(?<=:)(?P<name>[\w.~-]+(?:/[\w.~-]+){1,8}?)\.git\b|(?<=/)(?<!//)(?P<name1>[\w.~-]{1,100}/[\w.~-]{1,100})\.git\b", _I, ".git"),
    _rule("arn", "accounts and resources of clouds", r"\barn:[\w-]{2,12}:[\w-]{0,40}:[\w-]{0,40}:(?P<number>\d{6,14}):(?P<name>[^\s\"',;]+)|/subscriptions/(?P<id>[\w-]{8,})|\bprojects/(?P<name1>[a-z][\w-]{4,})/", 0, "arn: /subscriptions/ projects/"),
    _rule("host", "host names", r"(?<![\w.@/-])(?P<host>[^\W_][\w-]*(?:\.[\w-]+)++)", 0, "."),
    _rule(
        "inner-host", "hosts under names of one's own",
        r"(?<![\w.@/-])(?P<host>(?=[a-z.-]{0,60}\d)[a-z][a-z0-9-]{0,60}[a-z0-9](?:\.[a-z][a-z0-9-]{1,60}){2,6})(?!(?<=\.py)|(?<=\.js)|(?<=\.mjs)|(?<=\.ts)|(?<=\.json)|(?<=\.jsonl)|(?<=\.yaml)|(?<=\.yml)|(?<=\.log)|(?<=\.txt)|(?<=\.lock)|(?<=\.html)|(?<=\.tmp)|(?<=\.md)|(?<=\.zip)|(?<=\.gz))(?![\w.-])", 0, ".",
    ),
    _rule(
        "machine", "names that systems give to machines",
        r"(?<![A-Za-z0-9-])(?P<host>(?:DESKTOP|LAPTOP|WIN|EC2AMAZ|PC|SRV)-[A-Z0-9]{5,}|ip(?:-\d{1,3}){4}|[A-Za-z]\w{0,40}-(?:MacBook|iMac|Mac-mini|Mac-Studio|Laptop|PC|Desktop|ThinkPad|iPhone|iPad)(?:-[\w]{1,30}){0,4}|(?:i|vol|sg|vpc|subnet|eni|ami|snap|rtb|acl|igw|nat)-[0-9a-f]{8,17}|[\w-]{1,60}-[0-9a-f]{8,10}-[a-z0-9]{5})(?![A-Za-z0-9])", 0, "-",
    ),
    _rule("iban", "bank accounts", r"(?<![A-Za-z0-9])(?P<iban>[A-Za-z]{2}\d{2}(?:[ -]?[A-Za-z0-9]{4}){2,7}(?:[ -]?[A-Za-z0-9]{1,4})?)(?![A-Za-z0-9])", 0, "0"),
    _rule("uuid", "session ids, run ids", r"(?<![0-9A-Fa-f])(?P<id>[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12})", 0, "-"),
    _rule("hex-id", "device ids and other long hexadecimal numbers", r"(?<![A-Za-z0-9])(?:0x)?(?P<id>(?=[A-Fa-f]{0,400}\d)[0-9A-Fa-f]{24,})(?![A-Za-z0-9])", 0, "0"),
    _rule(
        "named-id", "values that are called an id of somebody",
        rf"(?<![a-z])(?:session|device|chat|user|account|client|request|thread|guild|channel|peer|contact|customer|member|order|invoice|ticket|case|booking|tracking|tenant|org|team|app|corp|open|union|message|msg|conversation|device|installation|advertising|push|fcm|apns)[_ -]?(?:id|key|no|nr|number|token)?{_IS}{_Q}(?P<id>(?=[\w.-]{{0,200}}\d)[\w-]{{6,}})", _I, f"id key no nr number token session device chat user account client thread guild channel peer tenant & {_SIGNS} & 0",
    ),
    _rule(
        "labelled", "numbers of documents and accounts",
        r"(?<![A-Za-z0-9])(?:ssn|social security|passport|reisepass|passeport|personalausweis|ausweis|steuer-?id(?:nr)?|steuernummer|tax[ -]?(?:id|no)|tin|ein|ni|nin|nino|nhs|insee|nif|dni|nie|cpf|cnpj|curp|rfc|aadhaar|pan|bsn|pesel|sin|medicare|dob|birth ?(?:day|date)|date of birth|born(?: on)?|geboren(?: am)?|geb\.?|driver'?s? ?licen[cs]e|licen[cs]e plate|plate|kennzeichen|vin|bic|swift|account|acct|konto(?:nummer)?|kto|blz|sort ?code|routing|card|cvv|cvc|imei|imsi|iccid|serial|s/n|sn|qq|wechat|weixin|line|skype|telegram|signal|viber|kakao|icq|customer|kunde|order|invoice|rechnung|patient|employee|student|member|policy|claim|booking|room|gate|tracking|身份证|护照|手机|电话|微信)"
        r"(?:[ \t_-]{0,2}(?:ids?|no|nr|number|num|code|nummer|user[ ]?id|号))?\.?(?:[ \t]{0,2}[:=#：][ \t]{0,3}[\"']?|[ \t]{1,3}|(?<=[号证照机话信]))(?P<number>(?=[A-Z]{0,4}[- ]?(?:[A-Z]{1,3}[- ]?)?\d)[A-Z0-9]{1,24}(?:[ ./-][A-Z0-9]{2,12}){0,5})(?![A-Za-z0-9])", _I, f"0 & {_LABELS}",
    ),
    _rule("ulid", "sortable ids and ids of chat services", r"(?<![A-Za-z0-9])(?P<id>[0-7][0-9A-HJKMNP-TV-Z]{25}|(?=[A-Z]{1,12}\d)[UWTCDGBASEF][0-9A-Z]{8,11})(?![A-Za-z0-9])", 0, "0"),
    _rule("geo", "places on a map", r"(?<![\d.])(?P<number>[-+]?\d{1,2}\.\d{4,15}°?[ \t]?[NS]?[,;/ ][ \t]?[-+]?\d{1,3}\.\d{4,15})(?![\d.])|\d{1,3}°[ \t]?\d{1,2}['′’][ \t]?(?P<number1>\d{1,2}(?:\.\d+)?)|\b(?:lat|lon|lng|latitude|longitude)\\*[\"']?[ \t]?[:=][ \t]?(?P<number2>[-+]?\d{1,3}\.\d{2,})", _I, "."),
    _rule("street", "streets", r"(?<![\w.])(?P<name>\d{1,5}[A-Za-z]?[ \t](?:[A-Z][\w'.-]{1,20}[ \t]){1,3}(?:Street|St|Avenue|Ave|Road|Rd|Boulevard|Blvd|Lane|Ln|Drive|Dr|Court|Ct|Place|Pl|Way|Square|Sq|Terrace|Parkway|Pkwy)\b)|(?P<name1>\b[A-ZÄÖÜ][\wäöüß-]{2,30}(?:straße|strasse|str\.|weg|platz|allee|gasse|ufer|damm|ring)[ \t]\d{1,4}[a-z]?\b)|(?P<name2>\b\d{1,4}(?: bis)?,? (?:rue|avenue|boulevard|place|chemin|via|calle|rua) [\w' -]{3,40})", 0, "street st ave road rd boulevard blvd lane ln drive dr court ct place pl way sq terrace pkwy parkway straße strasse str. weg platz allee gasse ufer damm ring rue chemin via calle rua & 0"),
    _rule("phone-named", "numbers that are called a phone", rf"(?<![a-z])(?:tel|telephone|telefon|phone|mobile|mobil|handy|cell|fax|whatsapp|call|ring|sms|text|msisdn|callto|手机|电话|電話)(?:[_ -]?(?:no|nr|number|nummer|num))?\.?(?:{_IS}|[ \t]{{1,3}}){_Q}(?:me |us |him |her )?(?:at |on )?(?P<phone>\+?\(?\d[\d \t().\-/\u00a0]{{5,22}}\d)(?!\d)", _I, "tel phone mobil handy cell fax whatsapp call ring sms text msisdn 手 电 電 & 0"),
    _rule("phone", "phone numbers, international", r"(?<![A-Za-z0-9.+-])(?P<phone>(?:\+|00 ?)\(?[1-9][\d \t().\-/\u00a0]{5,22}\d)(?!\d)", 0, "+ 00"),
    _rule("grouped-digits", "card and social security numbers", r"(?<![A-Za-z0-9.-])(?P<number>\d{4}(?:[ .-]\d{4}){3}(?:[ .-]\d{1,3})?|\d{4}[ .-]\d{6}[ .-]\d{5}|\d{3}[ -]\d{2}[ -]\d{4}|\d{3}[ -]\d{3}[ -]\d{3}|\d{2}[ .-]\d{3}[ .-]\d{3}[ .-]\d{3})(?![A-Za-z0-9-]|\.\d)", 0, "0"),
    _rule("digits", "long numbers: phone numbers without a sign, chat ids, accounts", r"(?<![A-Za-z0-9.])(?P<number>\d{9,})(?![A-Za-z0-9]|\.\d)", 0, "0"),
)  # fmt: skip

#: Keys whose text is private as a whole, whatever it looks like: the key in lower case without ``_`` and ``-``.
SECRET_KEYS = (
    "token", "secret", "password", "passwd", "passphrase", "passcode", "apikey", "accesskey", "privatekey", "secretkey",
    "authorization", "cookie", "signature", "credential", "credentials", "passwort", "pwd",
)  # fmt: skip
KEY_KINDS = {
    "sessionid": "id", "deviceid": "id", "chatid": "id", "userid": "id", "accountid": "id", "threadid": "id",
    "user": "user", "username": "user", "login": "user", "logname": "user",
    "host": "host", "hostname": "host", "computername": "host", "nodename": "host",
    "phone": "phone", "phonenumber": "phone", "recipient": "phone", "msisdn": "phone",
}  # fmt: skip
#: Keys under which people and models speak. ``token`` is a piece of a model's text there.
SCENARIO_TEXTS = frozenset({"message", "text", "tokens", "token", "content"})
HISTORY_TEXTS = frozenset({"message", "reply", "text", "content", "user_messages", "assistant_texts"})
