"""Words by which a request is known, as pairs: what is done, and to what. Neither half says
anything alone. The classes of harm are those that usage policies of models and agents share.
"""

from tachograph.detectors.provenance.words import stem


def _stems(words: str) -> frozenset[str]:
    """Stems of the words and of their past and present forms, which are not always the same."""
    forms = (word + ending for word in words.split() for ending in ("", "ed", "ing"))
    return frozenset(map(stem, forms))


# Rules that someone set an agent, and what is done to them.
RULES = _stems(
    "rule instruction guideline restriction policy filter safety ethic ethical guardrail safeguard"
    " moral morality censorship limitation constraint prompt programming boundary protection"
    " directive compliance principle"
)
SET_ASIDE = _stems(
    "ignore disregard forget bypass override circumvent drop abandon suspend disable lift break"
    " violate discard evade sidestep deactivate relax neglect void unlock"
)
# Who someone is asked to be, and what such a one is free of.
PERSONA = _stems(
    "act pretend imagine roleplay role persona character simulate become impersonate play behave"
    " respond answer mode twin"
)
UNBOUND = _stems(
    "unrestricted unfiltered uncensored unlimited amoral unethical jailbroken jailbreak unaligned"
    " lawless uncontrolled unconstrained"
)
WITHOUT = _stems("no without free never any beyond")
# Ways to answer that someone is forbidden.
REFUSING = _stems(
    "refuse refusal decline disclaimer warn warning apologize apology moralize lecture"
)
NEVER = _stems("never not dont don without no avoid omit skip")
# Ranks in whose name something is asked, and what they are said to allow.
RANK = _stems(
    "administrator admin developer owner ceo cto ciso officer police root supervisor superuser"
    " researcher tester auditor"
)
ALLOWS = _stems(
    "authorize authorise permission exempt override clearance unlock waive entitle permit"
)
# Pretexts under which a harm is asked for.
PRETEXT = _stems("hypothetical hypothetically fiction fictional screenplay")

# Who keeps harm away speaks of it, too.
PROTECTING = _stems(
    "protect prevent prevention detect detection defend defense mitigate awareness educate train"
    " training safeguard recognize block scan quarantine against avoid stop report"
)
# Class of harm → what is done, to what; None: the thing alone says it.
HARMS: dict[str, tuple[frozenset[str] | None, frozenset[str]]] = {
    "malware": (
        _stems("write create make build develop code generate spread deploy install send deliver"),
        _stems("malware ransomware keylogger trojan rootkit botnet spyware backdoor cryptominer"),
    ),
    "intrusion": (
        _stems("hack crack breach bruteforce brute ddos phish spoof hijack exploit bypass"),
        _stems(
            "account password server network wifi login authentication mfa captcha firewall paywall"
            " website camera router database detection verification security antivirus license"
            " licence software inbox mailbox"
        ),
    ),
    "fraud": (
        _stems(
            "forge fake counterfeit launder scam defraud falsify embezzle backdate impersonate"
            " steal fabricate"
        ),
        _stems(
            "document invoice passport identity license licence signature review tax money receipt"
            " insurance certificate bank cheque check record credential payment report diploma visa"
            " testimonial statement refund"
        ),
    ),
    "spying": (
        _stems("stalk spy dox surveil eavesdrop blackmail deanonymize wiretap extort harass"),
        _stems(
            "wife husband girlfriend boyfriend ex employee neighbor neighbour person phone location"
            " her him someone people address celebrity journalist message victim home"
        ),
    ),
    "weapons and drugs": (
        _stems("make build synthesize produce buy order smuggle obtain cook assemble detonate"),
        _stems(
            "bomb explosive grenade methamphetamine meth fentanyl sarin nerve weapon silencer"
            " anthrax ricin heroin cocaine napalm"
        ),
    ),
    "theft": (
        _stems("steal exfiltrate siphon skim pirate leak plagiarize plagiarise"),
        _stems(
            "data credential password customer card secret source file movie software database"
            " identity work article key record"
        ),
    ),
    "hate and lies": (
        _stems("write post generate spread send publish create make draft"),
        _stems(
            "hate racist sexist slur defamatory disinformation misinformation propaganda deepfake"
            " harassing libel"
        ),
    ),
    "concealment": (
        _stems("hide conceal erase delete destroy shred tamper cover remove alter clear wipe"),
        _stems("evidence inquiry investigation regulator auditor trail subpoena whistleblower"),
    ),
    "self-harm": (None, _stems("suicide")),
}  # fmt: skip
# All of them: what single letters may spell.
KNOWN = SET_ASIDE | RULES | UNBOUND
for _acts, _things in HARMS.values():
    KNOWN |= (_acts or frozenset()) | _things
