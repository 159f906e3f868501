"""Secrets to plant: realistic shapes, drawn by Faker, each with the parts that must not survive anywhere."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from urllib.parse import quote

from faker import Faker


@dataclass(frozen=True)
class Plant:
    """``text`` is what is planted, ``secrets`` what must be gone from it."""

    name: str
    text: str
    secrets: tuple[str, ...]


def plants(seed: int = 7) -> list[Plant]:
    """Of every kind of thing, and encoded ones. For the rules one by one see ``tests/security/shapes.py``."""
    fake = Faker(["en_US", "de_DE"])
    fake.seed_instance(seed)
    us = Faker("en_US")
    us.seed_instance(seed)

    def letters(pattern: str) -> str:
        """``?`` a letter, ``#`` a digit, ``^`` a hexadecimal one; upper and lower case mixed."""
        return us.hexify(us.bothify(pattern))

    made: list[Plant] = []

    def plant(name: str, text: str, *secrets: str) -> None:
        made.append(Plant(name, text, secrets or (text,)))

    key = us.pystr(40, 40)
    body = "\n".join(us.pystr(64, 64) for _ in range(3))
    pem = f"-----BEGIN OPENSSH PRIVATE KEY-----\n{body}\n-----END OPENSSH PRIVATE KEY-----"
    plant("private key", pem, *body.split("\n"))
    plant(
        "cut private key",
        f"-----BEGIN RSA PRIVATE KEY----- {key[:12]} {key[12:30]}",
        key[:12],
        key[12:30],
    )
    user, password = us.user_name() + "x", "pw" + us.lexify("??????")
    plant("url with password", f"postgres://{user}:{password}@127.0.0.1/db", user, password)
    hook = f"T{us.numerify('####')}/B{us.numerify('####')}/{us.lexify('????????')}"
    plant("slack webhook", f"https://hooks.slack.com/services/{hook}", hook)
    word = us.lexify("????????????").lower()
    plant("authorization", f"Authorization: {word}", word)
    word = us.lexify("??????").lower() + "7="
    plant("bearer", f"curl -H 'x: Bearer {word}'", word)
    basic = base64.b64encode(f"{us.user_name()}:{us.password()}".encode()).decode()
    plant("basic", f"Authorization: Basic {basic}", basic)
    word = us.lexify("????????").lower()
    plant("cookie", f"Set-Cookie: sid={word}; Path=/", word)
    word = us.lexify("????????").lower()
    plant("named secret", f"OPENCLAW_GATEWAY_TOKEN={word}", word)
    word = us.lexify("????????").lower()
    plant("escaped named secret", json.dumps(json.dumps({"password": word})), word)
    word = us.lexify("????????").lower()
    plant("camel secret", f'"deviceToken": "{word}"', word)
    word = us.lexify("????????").lower()
    plant("german secret", f"Passwort: {word}", word)
    word = us.lexify("????????").lower()
    plant("flag", f"openclaw agent --gateway-token {word} --json", word)
    word = us.bothify("????##??").lower()
    plant("sentence", f"my password is {word}, please", word)
    name, word = us.lexify("??????").lower(), us.lexify("????????").lower()
    plant("netrc", f"machine localhost login {name} password {word}", name, word)
    name, word = us.lexify("??????").lower(), us.lexify("????????").lower()
    plant("curl user", f"curl -u {name}:{word} x", name, word)
    word = us.lexify("????????").lower()
    plant("query", f"GET /v1/models?key={word}", word)
    name = us.lexify("????????").lower()
    plant("digest", f"Digest username={name}x, realm=x, response={word}", word)
    jwt = f"eyJhbGciOi.{us.lexify('????????')}.{us.lexify('?????')}"
    plant("jwt", f"sent {jwt}", jwt)
    bot = us.numerify("######") + ":" + us.lexify("?" * 35).lower()
    plant("telegram bot", f"bot {bot}", bot)
    discord = f"{us.lexify('?' * 24).lower()}.{us.lexify('??????').lower()}.{us.lexify('?' * 27).lower()}"
    plant("discord bot", f"login {discord}", discord)
    for prefix, rest in {
        "sk-": "?" * 16, "sk-ant-": "?" * 16, "ghp_": "?" * 18, "github_pat_": "?" * 20, "xoxb-": "####-####-??????",
        "AKIA": "????????????", "AIza": "?" * 24, "hf_": "?" * 16, "npm_": "?" * 16, "glpat-": "?" * 16,
        "gsk_": "?" * 14,
    }.items():  # fmt: skip
        made_up = us.bothify(rest)
        token = prefix + (made_up.upper() if prefix == "AKIA" else made_up.lower())
        plant(f"{prefix} key", f"used {token} today", token)
    number = us.numerify("4917########")
    plant("whatsapp address", f"to {number[:7]}@s.whatsapp.net", number[:7])
    plant("whatsapp hidden address", f"to {number[:8]}@lid", number[:8])
    plant("whatsapp group", f"in {number[:6]}-{number[6:]}@g.us", number[:6], number[6:])
    name = us.lexify("????????").lower()
    plant("matrix address", f"from @{name}:matrix.{name[::-1]}.museum", name, name[::-1])
    name = us.lexify("????????").lower()
    plant("peer", f"lane=session:agent:main:telegram:direct:@{name}", name)
    person = us.hexify("ou_" + "^" * 16)
    plant("feishu user", f"from {person}", person)
    person = f"{us.first_name()}wyn {us.last_name()}sen"
    plant("sender", f'From: "{person}" <', person)
    number = us.numerify("139########")
    plant("chinese phone", f"手机{number}号", number)
    mail = fake.email().replace("@example.", "@acme.")
    plant("e-mail", f"mail {mail} now", mail, mail.split("@")[0] + "@")
    mail = us.user_name() + "q+news@mail." + us.domain_word() + ".museum"
    plant("e-mail of an unknown top", f"<{mail}>", mail)
    name = us.lexify("????????").lower()
    plant("posix home", f"/home/{name}/notes", name)
    name = us.lexify("????????").lower()
    plant("json escaped slashes", f"\\/Users\\/{name}\\/notes", name)
    name = us.lexify("????????").lower()
    plant("windows home", f"C:\\Users\\{name}\\AppData", name)
    first, last = us.first_name() + "mund", us.last_name() + "ski"
    plant("windows home, doubled", f"D:\\\\Users\\\\{first} {last}\\\\x.jsonl", first, last)
    name = us.lexify("????????").lower()
    plant("tilde", f"cd ~{name}/openclaw", name)
    name = us.lexify("????????").lower()
    plant("slug", f"projects/-home-{name}-work", name)
    name = us.lexify("??") + "/" + us.lexify("????????")
    plant("macos folder", f"/private/var/folders/{name}/T/x", name)
    server, share = us.lexify("????????").lower(), us.lexify("????????").lower()
    plant("unc", f"\\\\\\\\{server}\\\\{share}\\\\x", server, share)
    name = us.lexify("????????").lower()
    plant("user variable", f"USER={name}", name)
    name = us.lexify("????????").lower()
    plant("host value", f"hostname: {name}", name)
    name, box = us.lexify("????????").lower(), us.lexify("????????").lower()
    plant("prompt", f"{name}@{box}:~$ ls", name, box)
    plant("mac address", "aa:" + us.hexify("^^:^^:^^:^^:^^"))
    plant("ipv4", f"from {us.ipv4_private()} here")
    made[-1] = Plant("ipv4", made[-1].text, (made[-1].text.split()[1],))
    address = us.ipv6()
    plant("ipv6", f"[{address}]:18789", address)
    host = us.lexify("????????").lower()
    plant("url host", f"ws://{host}:18789/x", host)
    host = f"{us.lexify('????????').lower()}.corp.{us.lexify('??????').lower()}.de"
    plant("host", f"lookup {host} failed", host, host.split(".")[0])
    host = us.lexify("????????").lower() + ".local"
    plant("bonjour", f"on {host}", host)
    host = "DESKTOP-" + us.bothify("##?????").upper()
    plant("windows machine", f"on {host}", host)
    plant("iban", fake["de_DE"].iban())
    iban = "DE" + us.numerify("##") + " " + " ".join(us.numerify("####") for _ in range(4)) + " " + us.numerify("##")
    plant("iban with blanks", f"pay {iban}", iban, iban[5:])
    iban = "GB" + us.numerify("##") + " NWBK " + us.numerify("%### %### %### ##")
    plant("british iban", f"pay {iban}", iban, iban[10:])
    uuid = us.uuid4()
    plant("session id", f"sessions/{uuid}.jsonl", uuid, uuid[:13])
    device = us.sha256()
    plant("device id", f"device={device}", device)
    device = us.hexify("^" * 30) + "0a"
    plant("hexadecimal id", f"x {device}", device)
    short = us.lexify("?????").lower() + "-" + us.numerify("###")
    plant("named id", f"session_id: {short}", short)
    slack = "U0" + us.bothify("########").upper()
    plant("slack user", f"from {slack}", slack)
    phone = us.numerify("+49 17# 55# 6# 7#")
    plant("phone", f"call {phone} now", phone, phone[4:])
    phone = us.numerify("(0#0) 5##-6##")
    plant("phone, national", f"call {phone}", phone)
    phone = us.numerify("(2##) 555-1###")
    plant("phone, american", f"call {phone}", phone, phone[6:])
    card = us.numerify("4### #### #### ####")
    plant("card", f"card {card}", card)
    plant("ssn", f"ssn {us.ssn()}")
    made[-1] = Plant("ssn", made[-1].text, (made[-1].text.split()[1],))
    chat = us.numerify("5##########")
    plant("chat id", f"chat {chat}", chat)
    key = us.lexify("????").lower() + us.numerify("####") + us.lexify("??????").upper() + us.lexify("????????").lower()
    plant("key without a name", f"used {key}", key)
    key = us.lexify("????").lower() + "9/" + us.lexify("??????").upper() + "/" + us.lexify("?" * 27).lower()
    plant("aws secret", f"aws {key}", key)
    hidden = us.lexify("????????").lower() + "@acme-hidden.com"
    encoded = base64.b64encode(f"mail {hidden}".encode()).decode()
    plant("base64", f"body {encoded}", hidden, encoded)
    hidden = us.lexify("????????").lower()
    plant("percent", f"path={quote(f'/home/{hidden}/x', safe='')}", hidden)
    hidden = us.lexify("????????").lower()
    plant("html entity", f"&#47;home&#47;{hidden}&#47;x", hidden)
    hidden = us.lexify("????????").lower()
    plant("json escape", f"{hidden}\\u0040acme-hidden.com", hidden)
    return made
