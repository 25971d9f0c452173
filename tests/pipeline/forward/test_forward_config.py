"""forward.toml: every problem at once, and no secret anywhere but where it is used."""

from pathlib import Path

import pytest

from tachograph.pipeline.errors import ConfigError
from tachograph.pipeline.forward import config
from tachograph.pipeline.forward.config import Configured, load
from tachograph.pipeline.settings import Settings

SECRET = "correct horse battery staple"
GOOD = """
[[destination]]
name = "siem"
type = "syslog"
address = "siem.example:6514"
tls = true
min_severity = "medium"
rate_cap = 600

[[destination]]
name = "hook"
type = "webhook"
url = "https://hooks.example/T00/B00/token-in-path?x=1"
secret_env = "HOOK_SECRET"
tenants = ["acme"]
risk_categories = ["agent_operation"]
rules = ["secret-*"]
owner_teams = ["payments"]
"""


def loaded(home: Path, text: str, **environ: str) -> list[Configured]:
    (home / "forward.toml").write_text(text)
    return load(Settings.from_env({"TACHO_HOME": str(home)}), environ=environ)


def test_without_a_file_there_are_no_destinations(tmp_path: Path) -> None:
    assert load(Settings.from_env({"TACHO_HOME": str(tmp_path)}), environ={}) == []


def test_a_named_file_that_is_missing_is_an_error(tmp_path: Path) -> None:
    settings = Settings.from_env({"TACHO_HOME": str(tmp_path)})
    with pytest.raises(ConfigError, match="cannot be read"):
        load(settings, tmp_path / "none.toml", {})
    with pytest.raises(ConfigError, match="cannot be read"):
        load(settings, environ={"TACHO_FORWARD_CONFIG": str(tmp_path / "none.toml")})


def test_good_destinations_are_read_with_their_defaults(tmp_path: Path) -> None:
    siem, hook = loaded(tmp_path, GOOD, HOOK_SECRET=SECRET)
    assert (siem.route.rate_cap, siem.format.NAME, siem.route.synthetic) == (600, "syslog", "mark")
    assert (hook.format.NAME, hook.route.health_every_s) == ("ocsf", 300)
    assert hook.secret is not None
    assert hook.secret.reveal() == SECRET


def test_a_secret_may_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    text = GOOD.replace('secret_env = "HOOK_SECRET"', f'secret_file = "{tmp_path}/secret"')
    _, hook = loaded(tmp_path, text)
    assert hook.secret is not None
    assert hook.secret.reveal() == SECRET


def test_secrets_are_in_no_dump(tmp_path: Path) -> None:
    found = loaded(tmp_path, GOOD, HOOK_SECRET=SECRET)
    for shown in (repr(found), str(found), str([one.shown() for one in found])):
        assert SECRET not in shown
    assert "token-in-path" not in str(found[1].shown())
    assert found[1].shown()["url"] == "https://hooks.example/…"


def test_all_problems_are_reported_at_once(tmp_path: Path) -> None:
    text = """
verbose = true
[[destination]]
name = "Bad Name"
type = "syslog"
min_severity = "huge"
colour = "red"
[[destination]]
name = "hook"
type = "webhook"
url = "http://siem.example/"
format = "slack"
rate_cap = 0
secret_env = "UNSET"
[[destination]]
name = "pigeon"
type = "pigeon"
[[destination]]
name = "same"
type = "syslog"
address = "a:1"
[[destination]]
name = "same"
type = "syslog"
address = "a:1"
"""
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, text)
    told = str(caught.value)
    for part in (
        "unknown key 'verbose'",
        "min_severity: Invalid enum value 'huge'",
        "destination Bad Name: unknown option 'colour'",
        "destination Bad Name: address is missing",
        "format: 'slack'; webhook carries ocsf, ndjson, cef",
        "rate_cap: Expected `int` >= 1",
        "secret_env: UNSET is not set",
        "destination pigeon: type: none of elasticsearch, kafka, opensearch, otlp, s3, ",
        "name 'same' is given twice",
    ):
        assert part in told


@pytest.mark.parametrize("name", ["Siem", "../up", "", "a b", "-x", "x" * 42])
def test_a_name_must_fit_groups_files_and_labels(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="use up to 41"):
        loaded(tmp_path, f'[[destination]]\nname="{name}"\ntype="syslog"\naddress="a:1"\n')


def test_a_secret_in_the_file_itself_is_refused_without_being_shown(tmp_path: Path) -> None:
    text = GOOD.replace('secret_env = "HOOK_SECRET"', f'secret = "{SECRET}"')
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, text)
    assert "use secret_env or secret_file" in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("text", ["[[destination]", "\xff", 'destination = "x"'])
def test_what_is_no_configuration_is_one_clear_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "forward.toml").write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match=r"is no TOML|write \[\[destination\]\]"):
        load(Settings.from_env({"TACHO_HOME": str(tmp_path)}), environ={})


YAML = """
destinations:
  - name: siem
    type: syslog
    address: siem.example:6514
    tls: true
    min_severity: medium
  - name: hook
    type: webhook
    url: https://hooks.example/T00
    secret_env: HOOK_SECRET
    rules: ["secret-*"]
"""


def test_yaml_says_the_same_as_toml(tmp_path: Path) -> None:
    (tmp_path / "forward.yaml").write_text(YAML)
    settings = Settings.from_env({"TACHO_HOME": str(tmp_path)})
    siem, hook = load(settings, environ={"HOOK_SECRET": SECRET})
    assert (siem.route.min_severity, siem.type.TYPE) == ("medium", "syslog")
    assert hook.route.rules == ["secret-*"]
    (tmp_path / "forward.toml").write_text(GOOD)
    with pytest.raises(ConfigError, match="keep one of them"):
        load(settings, environ={"HOOK_SECRET": SECRET})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("destinations: [", "is no YAML"),
        ("- name: x", "begins with destinations"),
        ("destinations: x", "destinations is a list"),
        ("destinations: !!python/object/apply:os.system [id]", "is no YAML"),
        ("destinations: [7]", "destination 1: is no table"),
        ("colour: red", "unknown key 'colour'"),
    ],
)
def test_yaml_that_is_no_configuration_is_one_clear_error(
    tmp_path: Path, text: str, told: str
) -> None:
    (tmp_path / "forward.yml").write_text(text)
    with pytest.raises(ConfigError, match=told):
        load(Settings.from_env({"TACHO_HOME": str(tmp_path)}), environ={})


def test_an_empty_yaml_has_no_destinations(tmp_path: Path) -> None:
    (tmp_path / "forward.yaml").write_text("# none yet\n")
    assert load(Settings.from_env({"TACHO_HOME": str(tmp_path)}), environ={}) == []


def test_there_is_a_bound_on_destinations_and_on_the_file(tmp_path: Path) -> None:
    one = '[[destination]]\nname="n{}"\ntype="syslog"\naddress="a:1"\n'
    many = "".join(one.format(n) for n in range(config.MAX_DESTINATIONS + 1))
    with pytest.raises(ConfigError, match="more than 50 destinations"):
        loaded(tmp_path, many)
    with pytest.raises(ConfigError, match="larger than"):
        loaded(tmp_path, "#" * (config.MAX_FILE_BYTES + 1))
