"""What is private in a text: one rule per shape. Pure data.

A rule is a regular expression whose named groups are what to replace; the group's name, without trailing digits, is
the kind of pseudonym it gets. Rules apply in this order, and none sees what an earlier one has replaced. They would
rather replace too much than too little: a kit is read by strangers.

``tests/harness/kit/test_redaction.py`` leaves out each rule in turn and sees a planted secret survive.
"""

# ruff: noqa: E501  a regular expression is read in one piece

from __future__ import annotations

import re
from typing import NamedTuple


class Rule(NamedTuple):
    """``pattern``: its named groups are replaced; ``why``: for the redaction report."""

    name: str
    why: str
    pattern: re.Pattern[str]


def _rule(name: str, why: str, pattern: str, flags: int = 0) -> Rule:
    return Rule(name, why, re.compile(pattern, flags))


_I = re.IGNORECASE
_Q = r"""\\*["']?"""  # a quote, escaped or not, or none
_IS = rf"{_Q}\s*[:=：]\s*{_Q}"
_SLASH = r"(?:\\*/)"
_BACK = r"(?:\\+|/+)"
_PART = r"""[^\\/\s"'`:;,|<>()\[\]{}*?]"""  # of a path
#: One part of a path that names a user; with blanks only where a slash shows that it goes on ("Max Mustermann").
_USER = rf"(?:{_PART}+(?: [A-Z]{_PART}*){{1,2}}(?=[\\/])|{_PART}+)"
_TOP = (
    "com|org|net|edu|gov|mil|int|info|biz|io|ai|app|dev|cloud|online|site|tech|xyz|me|tv|cc|co|eu|us|uk|de|fr|es|it|nl|be|"
    "ch|at|dk|se|no|fi|pt|cz|sk|hu|ro|gr|tr|ru|ua|cn|jp|kr|tw|hk|sg|in|my|th|vn|ph|au|nz|br|ar|mx|cl|ca|za|ng|ke|il|ae|"
    "sa|ir|local|lan|internal|intern|corp|home|intranet|localdomain|private|arpa|onion"
)

RULES: tuple[Rule, ...] = (
    _rule(
        "private-key", "private key blocks",
        r"(?P<secret>-----BEGIN [A-Z0-9 ]*PRIVATE KEY[A-Z ]*-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY[A-Z ]*-----|\Z))",
        re.DOTALL,
    ),
    _rule("url-user", "user and password in a URL", r"://(?P<user>[^/\s:@\"'<>]+):(?P<secret>[^/\s@\"'<>]+)@"),
    _rule(
        "webhook", "paths of webhooks and bot addresses",
        r"(?:hooks\.slack\.com/services|/api/webhooks|/bot(?=\d+:)|webhook\.office\.com)/?(?P<secret>[^\s\"'<>]+)", _I,
    ),
    _rule("digest", "digest credentials", r"\bDigest\s+(?P<secret>\w+=\S[^\r\n]*)", _I),
    _rule(
        "authorization", "authorization headers",
        rf"\b(?:proxy-)?authorization{_IS}(?:(?:basic|bearer|token|digest|negotiate|apikey)\s+)?(?P<secret>[^\s\"'\\,;]+)", _I,
    ),
    _rule("scheme", "Bearer and Basic credentials", r"\b(?:bearer|basic)\s+(?P<secret>(?=\S*[\d=])[\w.~+/=-]{6,})", _I),
    _rule("cookie", "cookies", rf"\b(?:set-)?cookie{_IS}(?P<secret>[^\r\n\"']+)", _I),
    _rule(
        "named-secret", "values that are called a token, key, secret or password",
        r"(?<![A-Za-z])(?:[\w-]*[_-])?(?:token|secret|pass(?:w(?:or)?[dt]|wort|code)?|passphrase|pwd|contraseña|密码|api[_-]?key|access[_-]?key(?:[_-]?id)?|"
        r"private[_-]?key|client[_-]?secret|signature|credentials?|x-[\w-]*(?:key|token)|sig|otp|pin)"
        rf"{_IS}(?P<secret>[^\s\"'\\,;&}})\]]{{3,}})", _I,
    ),
    _rule(
        "camel-secret", "the same in camel case",
        r"(?<![A-Za-z])[a-z]+[A-Za-z]*(?:Token|Secret|Password|ApiKey|AccessKey|PrivateKey|Signature)"
        rf"{_IS}(?P<secret>[^\s\"'\\,;&}})\]]{{3,}})",
    ),
    _rule(
        "flag-secret", "secrets behind a flag of a command line",
        r"--?[\w-]*(?:token|secret|password|passwd|pass|api-?key)\s+(?P<secret>[^\s\"'\\,;|&]{3,})", _I,
    ),
    _rule(
        "told-secret", "secrets that somebody tells in a sentence",
        r"\b(?:password|passwort|passphrase|pass ?code|pin|otp|code|api key|token|secret)\s+(?:is|was|ist|lautet)\s*:?\s+[\"'`]?"
        r"(?P<secret>(?=\S*\d)[^\s\"'`,;]{4,})", _I,
    ),
    _rule("netrc", "passwords in .netrc", r"\blogin\s+(?P<user>\S+)\s+password\s+(?P<secret>\S+)", _I),
    _rule("user-password", "USER:PASSWORD behind -u", r"(?:^|\s)(?:-u|--user)[ =](?P<user>[^\s:]+):(?P<secret>[^\s\"']+)"),
    _rule("query", "keys in the query of an address", r"[?&](?:key|auth|sig|code|state|sid)=(?P<secret>[^&\s\"'<>]{4,})", _I),
    _rule("jwt", "JSON web tokens", r"(?P<secret>\beyJ[\w-]{5,}\.[\w-]+(?:\.[\w-]*)?)"),
    _rule("telegram", "Telegram bot tokens", r"(?<!\d)(?P<secret>\d{6,12}:[A-Za-z0-9_-]{30,})"),
    _rule("discord", "Discord bot tokens", r"\b(?P<secret>[\w-]{23,28}\.[\w-]{6,7}\.[\w-]{27,})"),
    _rule(
        "vendor", "keys by their makers' prefixes",
        r"(?<![A-Za-z0-9])(?P<secret>(?:sk|pk|rk)[-_][\w-]{12,}|gh[pousr]_\w{16,}|github_pat_\w{16,}|gl(?:pat|dt|rt)-[\w-]{12,}|"
        r"xox[a-z]-[\w-]{8,}|xapp-[\w-]{8,}|(?:AKIA|ASIA|AROA|AIDA)[A-Z0-9]{12,}|AIza[\w-]{20,}|ya29\.[\w-]+|hf_\w{12,}|"
        r"npm_\w{12,}|pypi-[\w-]{12,}|r8_\w{12,}|gsk_\w{12,}|nvapi-[\w-]{12,}|dop_v1_\w{12,}|SG\.[\w-]{8,}\.[\w-]{8,}|"
        r"whsec_\w{12,}|EAA[A-Za-z0-9]{20,}|tvly-[\w-]{8,}|pplx-\w{12,}|xai-\w{12,}|key-[0-9a-f]{16,}|AC[0-9a-f]{32})",
    ),
    _rule(
        "jid", "WhatsApp addresses",
        r"(?<!\w)(?P<number>\d{5,}(?:[-:]\d+)?)@(?:s\.whatsapp\.net|g\.us|c\.us|lid|newsletter|broadcast)\b",
    ),
    _rule("matrix", "Matrix addresses", r"(?<![\w@])@(?P<user>[\w.=/+-]+):(?P<host>[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+)"),
    _rule(
        "peer", "whom a session key names",
        r"\bagent:[\w.-]+:[\w-]+:(?:direct|dm|group|channel|thread|room|topic|peer|user):(?P<id>[^\s:\"'\\,;)\]}]{3,})",
    ),
    _rule("chat-id", "ids of chat services by their makers' prefixes", r"(?<!\w)(?P<id>(?:ou|oc|on|om)_[0-9a-f]{12,}|wxid_\w{6,})"),
    _rule("sender", "names in the head of a mail", r"\b(?:From|To|Cc|Reply-To):\s*\"?(?P<user>[^\W\d_][^<>\"\n@]{1,60}?)\"?\s*<"),
    _rule("email", "e-mail addresses", r"(?P<email>[\w.!#$%&'*+/=?^`{|}~-]*[\w+]@(?:[^\W_](?:[\w-]*[^\W_])?\.)+[^\W\d_]{2,})"),
    _rule("posix-user", "user names in POSIX paths", rf"{_SLASH}(?:home|Users){_SLASH}(?P<user>{_USER})"),
    _rule(
        "windows-user", "user names in Windows paths",
        rf"(?:\b[a-z]:|\\)(?:{_BACK})(?:Users|Documents and Settings|Profiles|homes?){_BACK}(?P<user>{_USER})", _I,
    ),
    _rule("tilde-user", "user names after ~", r"(?<![\w/~])~(?P<user>[A-Za-z_][\w.-]+)(?=[/\\])"),
    _rule("slug-user", "user names in paths that became names", r"-(?:home|Users)-(?P<user>[^-/\\\s\"']+)(?=-)"),
    _rule("mac-folder", "the user's folder of macOS", rf"/var/folders/(?P<id>{_PART}+/{_PART}+)"),
    _rule("unc", "servers and shares in UNC paths", rf"(?<![\\\w:])\\{{2,8}}(?P<host>[\w][\w.-]*)\\+(?P<name>{_PART}+)"),
    _rule(
        "user-value", "values that are called a user",
        rf"(?<![A-Za-z])(?:user(?:[_-]?name)?|logname|login|sudo_user){_IS}(?P<user>[A-Za-z_][\w.-]+)", _I,
    ),
    _rule(
        "host-value", "values that are called a host",
        rf"(?<![A-Za-z])(?:host(?:[_-]?name)?|computer[_-]?name|node[_-]?name|machine|server){_IS}(?P<host>[A-Za-z0-9][\w.-]+)", _I,
    ),
    _rule(
        "prompt", "USER@HOST",
        r"(?<![\w.@/:+-])(?P<user>[A-Za-z_][\w.-]*)@(?!latest\b|next\b|beta\b)(?P<host>[A-Za-z][\w-]*[A-Za-z0-9])(?![\w@])",
    ),
    _rule("mac", "hardware addresses", r"(?<![\w:-])(?P<mac>[0-9A-Fa-f]{2}(?:[:-][0-9A-Fa-f]{2}){5})(?![\w:-])"),
    _rule("ipv4", "IPv4 addresses that are not loopback", r"(?<![\w.])(?P<ip>\d{1,3}(?:\.\d{1,3}){3})(?![\w]|\.\d)"),
    _rule("ipv6", "IPv6 addresses that are not loopback", r"(?<![\w:.])(?P<ip>(?=[0-9A-Fa-f]*:)[0-9A-Fa-f:]*:[0-9A-Fa-f:]+(?:\.\d+){0,3})(?![\w:])"),
    _rule("url-host", "hosts of URLs", r"[a-z][a-z0-9+.-]*:\\*/\\*/(?:[^/\s@\"'\\]*@)?(?P<host>[A-Za-z0-9][\w.-]*)", _I),
    _rule("host", "host names", rf"(?<![\w.@/-])(?P<host>(?:[A-Za-z0-9](?:[\w-]*[A-Za-z0-9])?\.)+(?:{_TOP}))(?![\w-]|\.\w)"),
    _rule(
        "machine", "names that systems give to machines",
        r"(?<![\w-])(?P<host>(?:DESKTOP|LAPTOP|WIN|EC2AMAZ)-[A-Z0-9]{5,}|ip(?:-\d{1,3}){4}|[A-Za-z]\w*s?-(?:MacBook|iMac|Mac-mini|Laptop|PC)(?:-[\w]+)*)(?!\w)",
    ),
    _rule("iban", "bank accounts", r"(?<!\w)(?P<iban>[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?)(?!\w)"),
    _rule("uuid", "session ids, run ids", r"(?P<id>[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12})"),
    _rule("hex-id", "device ids and other long hexadecimal numbers", r"(?<![\w])(?P<id>(?=[0-9A-Fa-f]*\d)[0-9A-Fa-f]{24,})(?!\w)"),
    _rule(
        "named-id", "values that are called a session or device id",
        rf"\b(?:session|device|chat|user|account|client|request|thread|guild|channel)[_ -]?(?:id|key)?{_IS}(?P<id>(?=[\w.-]*\d)[\w-]{{6,}})", _I,
    ),
    _rule("ulid", "sortable ids and ids of chat services", r"(?<!\w)(?P<id>[0-7][0-9A-HJKMNP-TV-Z]{25}|(?=\w*\d)[UWTCDGB][0-9A-Z]{8,11})(?!\w)"),
    _rule("phone", "phone numbers, international", r"(?<![\w.+-])(?P<phone>(?:\+|00 ?)\(?[1-9][\d\s().\-/\u00a0]{5,20}\d)(?!\d)"),
    _rule(
        "phone-national", "phone numbers, national",
        r"(?<![\w.:-])(?P<phone>\(?0\d{1,5}\)?[ /\u00a0-]{1,3}\d[\d -]{3,12}\d|(?:1[ .-])?\(?\d{3}\)?[ .-]{1,2}\d{3}[ .-]\d{4})(?![\w:-])",
    ),
    _rule("grouped-digits", "card and social security numbers", r"(?<![\w.-])(?P<number>\d{4}(?:[ -]\d{4}){3}|\d{4}[ -]\d{6}[ -]\d{5}|\d{3}-\d{2}-\d{4})(?![\w-])"),
    _rule("digits", "long numbers: phone numbers without a sign, chat ids, accounts", r"(?<![A-Za-z0-9_.])(?P<number>\d{9,})(?![A-Za-z0-9_]|\.\d)"),
    _rule(
        "opaque", "whatever looks like a key",
        r"(?<![\w+=-])(?P<secret>(?!\d{4}-\d\d-\d\dT)(?=[\w+=-]*[a-z])(?=[\w+=-]*[A-Z])(?=[\w+=-]*\d)[A-Za-z0-9_+=-]{20,})(?!\w)",
    ),
    _rule(
        "opaque-slashes", "keys of 40 characters with slashes",
        r"(?<![\w+/=.-])(?P<secret>(?=[\w+/]*[a-z])(?=[\w+/]*[A-Z])(?=[\w+/]*\d)[A-Za-z0-9+/]{40})(?![\w+/=.-])",
    ),
)  # fmt: skip

#: Keys whose text is private as a whole, whatever it looks like: the key in lower case without ``_`` and ``-``.
SECRET_KEYS = (
    "token", "secret", "password", "passwd", "passphrase", "apikey", "accesskey", "privatekey", "authorization",
    "cookie", "signature", "credential", "credentials",
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
