"""The prefixes by which makers mark their keys. Pure data.

What looks random is found without them (``randomness``); they find the short keys, and those of letters that look like
words. ``tests/security/test_redaction_shapes.py`` draws keys from the patterns of detect-secrets and asks that each is
found.
"""

# ruff: noqa: E501  one maker a line reads better

from __future__ import annotations

__all__ = ["GROUPS", "HEADS", "PREFIXES"]

_SHAPES = (
    # Models
    r"(?:sk|pk|rk)[-_][\w-]{12,}", r"sess-[\w-]{20,}", r"hf_\w{12,}", r"api_org_\w{12,}", r"gsk_\w{12,}", r"xai-[\w-]{12,}", r"r8_\w{12,}",
    r"nvapi-[\w-]{12,}", r"tvly-[\w-]{8,}", r"pplx-\w{12,}", r"fw_(?=\w{0,80}\d)\w{12,}", r"jina_(?=\w{0,80}\d)\w{12,}", r"tgp_v1_[\w-]{12,}", r"csk-\w{12,}", r"co_(?=\w{0,80}\d)\w{24,}",
    r"AQ\.[\w-]{16,}", r"AIza[\w-]{20,}", r"voyage-\w{20,}", r"pcsk_[\w-]{12,}", r"lsv2_\w{2}_\w{12,}", r"ls__\w{12,}", r"phx_\w{12,}", r"phc_\w{12,}",
    # Clouds
    r"(?:AKIA|ASIA|AROA|AIDA|ABIA|ACCA|AGPA|AIPA|ANPA|ANVA|APKA|A3T[A-Z0-9])[A-Z0-9]{12,}", r"ya29\.[\w-]+", r"1//0[\w-]{20,}", r"GOCSPX-[\w-]{20,}", r"GOOG[\w]{20,}",
    r"LTAI[A-Za-z0-9]{12,}", r"AKID[A-Za-z0-9]{13,}", r"AKLT[\w-]{20,}", r"do[oprt]_v1_\w{12,}", r"v1\.0-[0-9a-f]{24}-[0-9a-f]{60,}", r"HRKU-[\w-]{12,}", r"rnd_(?=\w{0,80}\d)\w{12,}", r"fo1_[\w-]{20,}", r"FlyV1 [\w+/=,-]{20,}",
    r"nfp_\w{12,}", r"vercel_(?=\w{0,80}\d)\w{12,}", r"sbp_\w{12,}", r"sb_(?:secret|publishable)_[\w-]{12,}", r"pscale_\w+_[\w.-]{12,}", r"neon_(?=\w{0,80}\d)\w{12,}", r"PMAK-[\w-]{20,}", r"dapi[0-9a-f]{20,}", r"dp\.(?:pt|st|ct|sa|scim|audit)\.[\w.-]{12,}", r"tskey-[\w-]{12,}", r"ATCTT3\w{12,}",
    r"hv[sbr]\.[\w-]{12,}", r"eyJrIjoi[\w+/=-]{12,}", r"glc_[\w+/=-]{20,}", r"glsa_\w{20,}", r"NRAK-\w{12,}", r"NRI[IQ]-[\w-]{12,}", r"sntry[su]_[\w+/=-]{12,}", r"ddp_\w{20,}", r"lin_api_\w{12,}", r"lin_oauth_\w{12,}", r"railway_(?=\w{0,80}\d)\w{12,}",
    # Code and packages
    r"gh[pousr]_\w{16,}", r"github_pat_\w{16,}", r"gl(?:pat|dt|rt|ft|ptt|soat|cbt|imt|agent|oas|ffct)-[\w.-]{12,}", r"GR1348941[\w-]{12,}", r"npm_\w{12,}", r"pypi-[\w-]{12,}", r"rubygems_(?=\w{0,80}\d)\w{12,}", r"oy2[a-z0-9]{40,}", r"dckr_(?:pat|oat)_[\w-]{12,}", r"cio\w{30,}", r"clojars_(?=\w{0,80}\d)\w{20,}", r"crates_(?=\w{0,80}\d)\w{20,}",
    r"ATATT3\w{12,}", r"ATBB[A-Za-z0-9]{20,}", r"bkua_\w{12,}", r"CCIP(?:AT|RJ)_\w{12,}", r"AKC[a-zA-Z0-9]{10,}", r"cmVmd[A-Za-z0-9+/=]{20,}", r"sq[pua]_\w{20,}", r"figd_[\w-]{12,}", r"figo_[\w-]{12,}", r"tfp_\w{20,}", r"atlasv1\.[\w-]{20,}", r"pul-[0-9a-f]{20,}", r"PMAK-[0-9a-f-]{20,}", r"snyk_(?=\w{0,80}\d)\w{12,}",
    # Money
    r"whsec_[\w+/=-]{12,}", r"sq0[a-z]{3}-[\w-]{12,}", r"EAAA[\w-]{20,}", r"shp(?:at|ca|pa|ss|tka)_\w{12,}", r"(?:live|test)_(?=\w{0,80}\d)\w{20,}", r"access\$(?:production|sandbox)\$[0-9a-z$]{20,}", r"(?:FLWSECK|FLWPUBK)[\w-]{12,}", r"rzp_(?:live|test)_\w{8,}", r"pat[A-Za-z0-9]{14}\.[0-9a-f]{40,}", r"pi_\w{12,}_secret_\w+", r"seti_\w{12,}_secret_\w+", r"duffel_(?:live|test)_[\w-]{20,}", r"plaid-\w+-[\w-]{12,}", r"access-(?:sandbox|development|production)-[\w-]{12,}", r"cf_(?=\w{0,80}\d)\w{20,}",
    # Talk
    r"xox[a-z]-[\w-]{8,}", r"xox[a-z]\.[\w.-]{8,}", r"xapp-[\w-]{8,}", r"xwfp-[\w-]{8,}", r"SG\.[\w-]{8,}\.[\w-]{8,}", r"key-[0-9a-f]{16,}", r"EAA[A-Za-z0-9]{20,}", r"IGQV[\w-]{20,}", r"mfa\.[\w-]{20,}", r"xkeysib-[\w-]{12,}", r"xsmtpsib-[\w-]{12,}", r"re_(?=\w{0,80}\d)\w{12,}", r"pk\.eyJ\w{10,}[\w.-]*", r"sk\.eyJ\w{10,}[\w.-]*", r"syt_\w{8,}", r"mdp_\w{12,}",
    r"ntn_\w{12,}", r"secret_(?=\w{0,80}\d)\w{30,}", r"pat-[a-z]{2}\d-[0-9a-f-]{20,}", r"app_(?=\w{0,80}\d)\w{30,}", r"dop_v1_\w{12,}", r"tk_(?=\w{0,80}\d)\w{24,}", r"tok_(?=\w{0,80}\d)\w{12,}", r"ak_(?=\w{0,80}\d)\w{16,}", r"uk_(?=\w{0,80}\d)\w{20,}",
    # Keys of people
    r"AGE-SECRET-KEY-1[0-9A-Za-z]{20,}", r"AGE-PLUGIN-[\w-]{20,}", r"ssh-(?:rsa|dss|ed25519)[ \t]+AAAA[\w+/=]{16,}", r"ecdsa-sha2-\w+[ \t]+AAAA[\w+/=]{16,}", r"[xyzt]prv[A-Za-z0-9]{40,}", r"nsec1[0-9a-z]{20,}", r"ops_eyJ[\w-]{20,}", r"A3-[A-Z0-9]{6}-[A-Z0-9]{5,6}-[A-Z0-9]{5}-[A-Z0-9]{5}-[A-Z0-9]{5}(?:-[A-Z0-9]{5})?",
)  # fmt: skip

#: Shapes that any letters may begin.
_GROUPS = (
    r"fm\d[a-z]?_[\w+/=-]{20,}",
    r"[sbr]\.(?=[A-Za-z]{0,80}\d)[A-Za-z0-9]{24,}",
    r"NR[A-Z]{2}-\w{12,}",
    r"AP(?=[A-Za-z]{0,40}\d)[\dA-F][a-zA-Z0-9]{8,}",
    r"[A-Za-z0-9]{14}\.atlasv1\.[\w-]{20,}",
    r"[0-9a-z]{32}-us\d{1,2}",
    r"(?:AC|SK)[0-9a-z]{32}",
    r"IG[A-Za-z0-9]{30,}",
    r"K[0-9][A-Za-z0-9]{50}",
    r"[A-Z0-9]{5}(?:-[A-Z0-9]{5}){4}",
    r"\d{6}(?:-\d{6}){7}",
    r"(?=[A-Z-]{0,16}\d)[A-Z0-9]{5}(?:-[A-Z0-9]{5}){2}(?![\w-])",
    r"(?:(?=[a-zA-Z]{0,5}\d)(?=\d{0,5}[a-zA-Z])[0-9a-zA-Z]{4,6}-){3,9}[0-9a-zA-Z]{4,6}(?![\w-])",
)

PREFIXES = "|".join(_SHAPES)
GROUPS = "|".join(_GROUPS)
#: In lower case: a text in which none of these stands has no key of ``PREFIXES`` in it (``~``: a blank).
HEADS = (
    "sk- sk_ pk- pk_ rk- rk_ sess- hf_ xai- r8_ nvapi- tvly- pplx- fw_ jina_ tgp_v1_ co_ aq. aiza voyage- lsv2_ "
    "ls__ phx_ phc_ akia asia aroa aida abia acca agpa aipa anpa anva apka a3t ya29. 1//0 gocspx- goog ltai akid "
    "aklt doo_v1_ dop_v1_ dor_v1_ dot_v1_ v1.0- hrku- rnd_ fo1_ flyv1~ nfp_ vercel_ sbp_ sb_secret sb_publisha "
    "pscale_ neon_ pmak- dapi dp.pt dp.st dp.ct dp.sa dp.scim dp.audit atctt3 hvs. hvb. hvr. eyjrijoi glc_ glsa_ "
    "nrak- nrii- nriq- sntrys_ sntryu_ ddp_ lin_oaut railway_ ghp_ gho_ ghu_ ghs_ ghr_ github_p gldt- glrt- glft- "
    "glptt- glsoat- glcbt- glimt- glagent- gloas- glffct- gr134894 npm_ pypi- rubygems oy2 dckr_oat cio clojars_ "
    "crates_ atatt3 atbb bkua_ cciprj_ akc cmvmd sqp_ squ_ sqa_ figd_ figo_ tfp_ atlasv1. pul- snyk_ whsec_ sq0 "
    "shpca_ shppa_ shpss_ shptka_ live_ test_ access$producti access$sandbox flwseck flwpubk rzp_live rzp_test "
    "pat pi_ seti_ duffel_live duffel_test plaid- access-sandbox access-developm access-producti cf_ xox xapp- "
    "xwfp- sg. key- eaa igqv mfa. xkeysib- xsmtpsib re_ pk.eyj sk.eyj syt_ mdp_ ntn_ secret_ app_ tk_ tok_ ak_ "
    "uk_ age-secr age-plug ssh-rsa ssh-dss ssh-ed25519 ecdsa-sh xprv yprv zprv tprv nsec1 ops_eyj a3- "
)
