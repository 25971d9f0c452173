"""Patterns of secrets: what providers' keys look like. Data; redact.py uses it.

A pattern's group 1 is the secret, or the whole match where it has no group. `literals` are texts
one of which every match contains (lower case): they say which patterns are worth trying on a text.
`head` is a short expression that matches wherever `regex` does, and elsewhere seldom: all heads
together read a text in one pass, which the exact expressions with their counts cannot.
All patterns run in linear time (RE2), and none crosses a quote, so that JSON text stays JSON text.
"""

from typing import Final

import msgspec


class Pattern(msgspec.Struct, frozen=True):
    """One type of secret."""

    type: str
    literals: tuple[str, ...]
    head: str
    regex: str


def _p(type_: str, literals: str, head: str, regex: str) -> Pattern:
    return Pattern(type_, tuple(literals.split()), head, regex)


# White space of JSON text within JSON text: `\n` may be written `\\n`.
_GAP: Final = r"(?:\s|\\+[nrtNRT])"

_PEM: Final = r"-----BEGIN (?:[A-Z0-9]{1,20} ){0,4}PRIVATE KEY(?: BLOCK)?-----"

_URL_HEAD: Final = r"""://[^\s/?#@"'\\<>]*@"""
_BEARER_HEAD: Final = r"(?i:bearer|basic)" + _GAP + r"+[A-Za-z0-9._~+/-]{4}"

PROVIDERS: Final = (
    _p("private_key", "-----begin", r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY",
       _PEM + r"(?:[A-Za-z0-9+/=:,.\s-]|\\+[nrt])*?"
       r"-----END (?:[A-Z0-9]{1,20} ){0,4}PRIVATE KEY(?: BLOCK)?-----"),
    # Cut off before its end: what looks like its body goes.
    _p("private_key", "-----begin",
       r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY", _PEM + r"(?:[A-Za-z0-9+/=\s]|\\+[nrt])*"),
    _p("jwt", "eyj", r"eyJ[A-Za-z0-9_-]+\.eyJ",
       r"\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}"),
    _p("aws_access_key", "akia asia abia acca", r"A(?:KIA|SIA|BIA|CCA)[A-Z2-7]",
       r"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}\b"),
    _p("gcp_api_key", "aiza", r"AIza[0-9A-Za-z_-]", r"\bAIza[0-9A-Za-z_-]{35}"),
    _p("gcp_oauth_token", "ya29.", r"ya29\.", r"\bya29\.[0-9A-Za-z_-]{20,}"),
    _p("gcp_client_secret", "gocspx-", r"GOCSPX-", r"\bGOCSPX-[0-9A-Za-z_-]{20,}"),
    _p("azure_storage_key", "accountkey=", r"(?i:AccountKey=)",
       r"(?i)\bAccountKey=([A-Za-z0-9+/]{40,}={0,2})"),
    _p("azure_shared_access_key", "sharedaccesskey=", r"(?i:SharedAccessKey=)",
       r"(?i)\bSharedAccessKey=([A-Za-z0-9+/]{30,}={0,2})"),
    _p("azure_sas_signature", "sig=", r"(?i:[?&;]sig=)",
       r"(?i)[?&;]sig=([A-Za-z0-9%+/]{30,}(?:=|%3d){0,2})"),
    _p("azure_client_secret", "8q~ 7q~", r"[78]Q~", r"[A-Za-z0-9_~.]{3}[78]Q~[A-Za-z0-9_~.-]{31,}"),
    _p("github_token", "ghp_ gho_ ghu_ ghs_ ghr_", r"gh[pousr]_[A-Za-z0-9]",
       r"\bgh[pousr]_[A-Za-z0-9]{36,}"),
    _p("github_token", "github_pat_", r"github_pat_", r"\bgithub_pat_[A-Za-z0-9_]{22,}"),
    _p("gitlab_token", "glpat- gldt- glrt- glptt- glcbt- gloas- glsoat- glft- glagent-",
       r"gl[a-z]+-[A-Za-z0-9_.-]",
       r"\b(?:glpat|gldt|glrt|glptt|glcbt|gloas|glsoat|glft|glagent)-[A-Za-z0-9_.-]{20,}"),
    _p("slack_token", "xoxa- xoxb- xoxe- xoxo- xoxp- xoxr- xoxs- xoxc- xoxd-", r"xox[abceoprsd]-",
       r"\bxox[abceoprsd]-[A-Za-z0-9-]{10,}"),
    _p("slack_token", "xapp-", r"xapp-", r"\bxapp-[A-Za-z0-9-]{10,}"),
    _p("slack_webhook", "hooks.slack.com/", r"hooks\.slack\.com/",
       r"hooks\.slack\.com/(?:services|workflows)/([A-Za-z0-9/_-]{20,})"),
    _p("stripe_key", "sk_live_ sk_test_ rk_live_ rk_test_", r"[sr]k_(?:live|test)_",
       r"\b[sr]k_(?:live|test)_[A-Za-z0-9]{16,}"),
    _p("stripe_webhook_secret", "whsec_", r"whsec_", r"\bwhsec_[A-Za-z0-9+/=]{24,}"),
    _p("anthropic_key", "sk-ant-", r"sk-ant-", r"\bsk-ant-[A-Za-z0-9_-]{20,}"),
    _p("openai_key", "sk-proj- sk-svcacct- sk-admin-", r"sk-(?:proj|svcacct|admin)-",
       r"\bsk-(?:proj|svcacct|admin)-[A-Za-z0-9_-]{20,}"),
    _p("openrouter_key", "sk-or-", r"sk-or-", r"\bsk-or-[A-Za-z0-9-]{20,}"),
    _p("openai_key", "sk-", r"sk-[A-Za-z0-9]", r"\bsk-[A-Za-z0-9]{32,}"),
    _p("huggingface_token", "hf_", r"hf_[A-Za-z0-9]", r"\bhf_[A-Za-z0-9]{30,}"),
    _p("npm_token", "npm_", r"npm_[A-Za-z0-9]", r"\bnpm_[A-Za-z0-9]{36}"),
    _p("pypi_token", "pypi-ageichl", r"pypi-AgEI", r"\bpypi-AgEIcHl[A-Za-z0-9_-]{50,}"),
    _p("sendgrid_key", "sg.", r"SG\.[A-Za-z0-9_-]",
       r"\bSG\.[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{30,}"),
    _p("mailgun_key", "key-", r"key-[0-9a-f]", r"\bkey-[0-9a-f]{32}\b"),
    _p("mailchimp_key", "-us", r"[0-9a-f]-us[0-9]", r"\b[0-9a-f]{32}-us[0-9]{1,2}\b"),
    _p("digitalocean_token", "dop_v1_ doo_v1_ dor_v1_", r"do[por]_v1_",
       r"\bdo[por]_v1_[a-f0-9]{64}"),
    _p("databricks_token", "dapi", r"dapi[0-9a-f]", r"\bdapi[0-9a-f]{32}(?:-[0-9])?\b"),
    _p("shopify_token", "shpat_ shpca_ shppa_ shpss_", r"shp(?:at|ca|pa|ss)_",
       r"\bshp(?:at|ca|pa|ss)_[A-Fa-f0-9]{32}"),
    _p("telegram_token", ":aa", r":AA[A-Za-z0-9_-]", r"\b[0-9]{8,10}:AA[A-Za-z0-9_-]{33}\b"),
    _p("groq_key", "gsk_", r"gsk_", r"\bgsk_[A-Za-z0-9]{40,}"),
    _p("xai_key", "xai-", r"xai-[A-Za-z0-9]", r"\bxai-[A-Za-z0-9]{60,}"),
    _p("replicate_token", "r8_", r"r8_[A-Za-z0-9]", r"\br8_[A-Za-z0-9]{37}\b"),
    _p("perplexity_key", "pplx-", r"pplx-", r"\bpplx-[A-Za-z0-9]{40,}"),
    _p("linear_key", "lin_api_", r"lin_api_", r"\blin_api_[A-Za-z0-9]{32,}"),
    _p("notion_token", "ntn_", r"ntn_[A-Za-z0-9]", r"\bntn_[A-Za-z0-9]{40,}"),
    _p("vault_token", "hvs. hvb. hvr.", r"hv[sbr]\.[A-Za-z0-9_-]",
       r"\bhv[sbr]\.[A-Za-z0-9_-]{24,}"),
    _p("terraform_token", ".atlasv1.", r"\.atlasv1\.",
       r"\b[A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_=-]{60,}"),
    _p("grafana_token", "glsa_ glc_", r"gl(?:sa|c)_", r"\bgl(?:sa|c)_[A-Za-z0-9_=+/]{32,}"),
    _p("newrelic_key", "nrak-", r"NRAK-", r"\bNRAK-[A-Z0-9]{27}\b"),
    _p("sentry_token", "sntrys_ sntryu_", r"sntry[su]_", r"\bsntry[su]_[A-Za-z0-9_=+/-]{40,}"),
    _p("square_token", "sq0atp- sq0csp-", r"sq0(?:atp|csp)-",
       r"\bsq0(?:atp|csp)-[A-Za-z0-9_-]{22,}"),
    _p("docker_token", "dckr_pat_ dckr_oat_", r"dckr_[po]at_", r"\bdckr_[po]at_[A-Za-z0-9_-]{27,}"),
    _p("doppler_token", "dp.pt. dp.st. dp.sa.", r"dp\.(?:pt|st|sa)\.",
       r"\bdp\.(?:pt|st|sa)\.[A-Za-z0-9.-]{40,}"),
    _p("figma_token", "figd_", r"figd_", r"\bfigd_[A-Za-z0-9_-]{40,}"),
    _p("supabase_token", "sbp_", r"sbp_[a-f0-9]", r"\bsbp_[a-f0-9]{40}\b"),
    _p("age_key", "age-secret-key-1", r"AGE-SECRET-KEY-1", r"\bAGE-SECRET-KEY-1[A-Z0-9]{58}"),
    _p("connection_string", "://", _URL_HEAD,
       r"(?i)\b(?:postgres(?:ql)?|mysql|mariadb|mongodb|redis|rediss|amqps?|mssql|sqlserver|oracle"
       r"|clickhouse|kafka|ldaps?|smtps?|ftps?|sftp|nats)(?:\+[a-z0-9]{1,20})?://"
       r"[^\s/?#:@\"'\\<>‹›]*:"
       r"([^\s/?#@\"'\\<>‹›]{1,})@"),
    _p("url_password", "://", _URL_HEAD,
       r"(?i)\b[a-z][a-z0-9+.-]{1,20}://[^\s/?#:@\"'\\<>‹›]*:([^\s/?#@\"'\\<>‹›]{1,})@"),
    _p("authorization", "bearer basic", _BEARER_HEAD,
       r"(?i)\b(?:bearer|basic)" + _GAP + r"{1,4}([A-Za-z0-9._~+/-]{16,}={0,2})"),
)  # fmt: skip

# After these words a value that looks random is a secret, whoever made it.
KEYWORDS: Final = (
    "secret", "token", "credential",
    "api_key", "apikey", "api-key", "access_key", "access-key", "accesskey",
    "private_key", "privatekey", "private-key", "auth_key", "authkey", "auth-key",
    "account_key", "account-key", "accountkey", "signing_key", "signing-key", "signingkey",
    "encryption_key", "encryption-key", "encryptionkey", "session_key", "session-key", "sessionkey",
)  # fmt: skip
# Group 1: the name, group 2: the value.
KEYWORD: Final = (
    r"(?i)((?:secret|token|credential"
    r"|(?:api|access|private|auth|account|signing|encryption|session)[_-]?key)[A-Za-z0-9_-]{0,24})"
    r"""(?:\\*["'])?""" + _GAP + r"{0,4}(?::=|=>|=|:)" + _GAP + r"""{0,4}(?:\\*["'])?"""
    r"""([^\s"'\\,;<>‹›{}()\[\]&|`]{8,})"""
)
KEYWORD_HEAD: Final = (
    r"(?i:secret|token|credential"
    r"|(?:api|access|private|auth|account|signing|encryption|session)[_-]?key)[A-Za-z0-9_-]*"
    r"""(?:\\*["'])?""" + _GAP + r"*[:=]"
)
# What follows these names is about a secret, not a secret.
ABOUT: Final = (
    "name", "id", "url", "uri", "path", "file", "type", "count", "limit", "length", "policy",
    "version", "expires", "expiry", "expiration", "expires_at", "expires_in", "ttl", "usage",
    "endpoint", "field", "env",
    "manager", "header", "size", "arn", "budget", "provider", "scope", "ref", "format", "hash",
)  # fmt: skip

# Names that end like this are those of passwords.
PASSW_NAMES: Final = (
    r"(?:(?i:passw(?:or)?d|passphrase|pwd)|[A-Z0-9]_PASS|SSHPASS)"
    r"(?i:s?(?:[_-]?(?:confirm(?:ation)?|again|repeat|new|old))?[0-9]{0,2})"
)
_OPEN_QUOTE: Final = r"""(?P<open>\\*["'])?"""
_NEXT: Final = r"""(?P<close>\\*["'])""" + _GAP + r"{0,4}," + _GAP + r"{0,4}"
_FLAG: Final = (
    r"(?:--(?:[a-z0-9]{1,20}[-_.]){0,4}(?i:pass|pwd)"
    r"|--?[A-Za-z0-9_.-]{0,40}?(?i:passw(?:or)?d|passphrase))"
)
_CURL: Final = r"\b(?:curl|wget)\b[^\n|;&]{0,400}?\s(?:-u|-U|--user|--proxy-user)"
_MYSQL: Final = r"\b(?:mysql|mysqldump|mysqladmin|mariadb)\b[^\n|;&]{0,400}?\s"
# What stands right before a password, by kind: what follows is judged by kind, too.
PASSWORD_HEADS: Final = {
    "assigned": r"(?P<name>" + PASSW_NAMES + r""")(?P<close>\\*["'])?"""
    r"(?P<sign>" + _GAP + r"{0,4}(?::=|=>|=|:)" + _GAP + r"{0,4})" + _OPEN_QUOTE,
    "pass": r"""["']pass(?P<close>\\*["'])""" + _GAP + r"{0,4}:" + _GAP + r"{0,4}" + _OPEN_QUOTE,
    "flag": r"(?:^|[^A-Za-z0-9_-])" + _FLAG + r"(?:=|" + _GAP + r"{1,4})" + _OPEN_QUOTE,
    "argument": r"""["']""" + _FLAG + _NEXT + _OPEN_QUOTE,
    "openssl": r"-pass(?:in|out)?(?:\s+|" + _NEXT + r")" + _OPEN_QUOTE + r"pass:",
    "sshpass": r"\bsshpass\s+-p\s*" + _OPEN_QUOTE,
    "userinfo": _CURL + r"(?:=|\s*)" + _OPEN_QUOTE + r"""[^\s:"'\\]{1,128}:""",
    "mysql": _MYSQL + r"-p" + _OPEN_QUOTE,
    "element": r"<(?:[A-Za-z0-9]{1,32}:)?[A-Za-z0-9_.-]{0,40}(?i:passw(?:or)?d|passphrase|pwd)>",
}  # fmt: skip
# Matches wherever one of those does, and elsewhere seldom.
_SHORT_HEAD: Final = r"(?i:passw(?:or)?d|passphrase|pwd)"
_FLAG_HEAD_END: Final = r"(?:=|" + _GAP + r"""|\\*["'])"""
PASSWORD_HEAD: Final = "|".join((
    r"(?:" + _SHORT_HEAD + r"|_PASS|SSHPASS)[A-Za-z0-9_-]*"
    r"""(?:\\*["'])?""" + _GAP + r"*[:=]",
    r"""["']pass\\*["']""" + _GAP + r"*:",
    r"-[A-Za-z0-9_.-]*" + _SHORT_HEAD + _FLAG_HEAD_END,
    r"-(?:[A-Za-z0-9_.-]*[-_.])?(?i:pass)(?:in|out)?" + _FLAG_HEAD_END,
    r"sshpass\s+-p",
    r"(?:curl|wget)[^\n|;&]*\s(?:-u|-U|--user|--proxy-user)",
    r"(?:mysql|mariadb)[^\n|;&]*\s-p",
    _SHORT_HEAD + r">",
))  # fmt: skip
PASSWORD_LITERALS: Final = (
    "passw",
    "passphrase",
    "pwd",
    "pass",
    "curl",
    "wget",
    "mysql",
    "mariadb",
)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Values that stand for a password.
PLACEHOLDERS: Final = _words(
    "none null nil undefined true false redacted hidden masked removed omitted placeholder string"
    " text required optional prompt n/a todo tbd your_password your-password yourpassword"
    " your_password_here your-password-here (none) (hidden)"
) | {"your password", "enter password"}
# Values of a test called `pass`.
VERDICTS: Final = _words("yes no ok pass fail passed failed skip skipped error y n")
# Words after a flag in a sentence about it.
AFTER_FLAGS: Final = _words(
    "flag flags option options argument arguments parameter parameters switch value values is are"
    " was were to and or for in on with from as at by when if then will must should can may not be"
    " the a an using instead because without which that it so only"
)
# Words after `password:` that speak about it.
PROSE_VALUES: Final = PLACEHOLDERS | _words(
    "yes no ok set unset empty missing invalid incorrect wrong correct expired changed reset valid"
    " accepted rejected denied failed weak strong encrypted hashed encoded stored unknown default"
    " unchanged same different mandatory field plain secret sensitive input"
)
