"""ReusePolicy, Resources, policies, Image, TaskEnvironment."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

import samovar as flyte
from samovar import model
from samovar.model import ImageStep, SecretSpec
from samovar.sdk import bundle, environment
from samovar.sdk.policies import to_retry, to_secrets, to_timeouts
from samovar.sdk.task import TaskOptions

POLICY = flyte.ReusePolicy(replicas=(0, 3), idle_ttl=60, concurrency=2)


def test_what_is_included_is_seen_from_the_declaring_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "_declared", [])
    one = flyte.TaskEnvironment("with-data", include=["data/*.csv"])
    other = one.clone_with("with-more", include=("more",))
    found = {name: (folder, path) for name, folder, path in environment.included()}
    here = str(Path(__file__).parent)
    assert found["with-data"] == (here, "data/*.csv")
    assert found[other.name] == (here, "more")
    with pytest.raises(TypeError, match="include must be a list or tuple of paths"):
        flyte.TaskEnvironment("e", include="data")


def test_a_policy_is_normalised() -> None:
    policy = flyte.ReusePolicy()
    assert (policy.replicas, policy.min_replicas, policy.max_replicas) == ((2, 2), 2, 2)
    assert policy.idle_ttl == policy.scaledown_ttl == timedelta(seconds=30)
    assert POLICY.settings() == model.PoolSettings(0, 3, 2, 60.0, 30.0, None)
    assert flyte.ReusePolicy(idle_ttl=0.5).settings().idle_ttl == 0.5
    assert flyte.ReusePolicy(scaledown_ttl=timedelta(minutes=1)).settings().scaledown_ttl == 60


@pytest.mark.parametrize(
    "wrong",
    [
        {"replicas": -1}, {"replicas": 0}, {"replicas": 1.5}, {"replicas": (3, 1)}, {"replicas": (1, 2, 3)},
        {"replicas": True}, {"replicas": ("1", 2)}, {"concurrency": 0}, {"concurrency": 1.0}, {"idle_ttl": 0},
        {"scaledown_ttl": -1}, {"idle_ttl": "30"}, {"scope": "project"},
    ],
)  # fmt: skip
def test_a_wrong_policy_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="ReusePolicy"):
        flyte.ReusePolicy(**wrong)


@pytest.mark.parametrize(
    ("given", "limits"),
    [
        ({"cpu": 2}, model.Limits(cpu=2.0)),
        ({"cpu": "500m"}, model.Limits(cpu=0.5)),
        ({"cpu": (1, 2)}, model.Limits(cpu=2.0)),
        ({"memory": "1Gi"}, model.Limits(memory=2**30)),
        ({"memory": ("512Mi", "1.5Gi")}, model.Limits(memory=3 * 2**29)),
        ({"memory": "2G", "disk": "10Gi", "shm": "64Mi"}, model.Limits(None, 2 * 10**9, None, 10 * 2**30, 2**26)),
        ({"shm": "auto"}, model.Limits()),
        ({"gpu": 1}, model.Limits(gpu="1")),
        ({"gpu": "T4:1"}, model.Limits(gpu="T4:1")),
        ({"pids": 100}, model.Limits(pids=100)),
    ],
)
def test_resources_are_read(given: dict[str, object], limits: model.Limits) -> None:
    assert flyte.Resources(**given).limits() == limits


@pytest.mark.parametrize(
    "wrong",
    [{"cpu": "much"}, {"memory": "1Qi"}, {"cpu": -1}, {"cpu": (2, 1)}, {"cpu": (1, 2, 3)}, {"gpu": "T4"}, {"gpu": True},
     {"memory": ""}, {"pids": 0}, {"pids": True}, {"pids": "many"}],
)  # fmt: skip
def test_wrong_resources_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=f"Resources.*{next(iter(wrong))}"):
        flyte.Resources(**wrong)


def test_policies_become_numbers() -> None:
    assert to_retry(3) == model.Retry(count=3)
    strategy = flyte.RetryStrategy(2, backoff=flyte.Backoff(base=timedelta(seconds=2), factor=3, cap=9))
    assert to_retry(strategy) == model.Retry(2, 2.0, 3, 9.0)
    assert to_timeouts(0) == to_timeouts(None) == model.Timeouts()
    assert to_timeouts(timedelta(minutes=1)) == model.Timeouts(max_runtime=60)
    assert to_timeouts(flyte.Timeout(1, 2, timedelta(seconds=3))) == model.Timeouts(1, 2, 3)
    secrets = ["my-key", flyte.Secret("k", group="g"), flyte.Secret("x", as_env_var="X_ENV")]
    assert to_secrets(secrets) == (SecretSpec("G_K", "g/k"), SecretSpec("MY_KEY", "my-key"), SecretSpec("X_ENV", "x"))
    assert to_secrets("k") == (SecretSpec("K", "k"),)
    for wrong in (-1, 1.5, True):
        with pytest.raises(ValueError, match="retries"):
            to_retry(wrong)
    with pytest.raises(ValueError, match="timeout"):
        to_timeouts(-1)
    flyte.Cache("auto", version_override="1"), flyte.PodTemplate(), flyte.Trigger("nightly", automation="cron")


def test_an_image_is_an_immutable_chain() -> None:
    plain = flyte.Image.from_debian_base(python_version=(3, 12), name="x", registry="r", install_flyte=False)
    full = (
        plain.with_pip_packages("numpy", "unionai-reuse>=0.1", "unionai_reuse", index_url="https://i")
        .with_pip_packages(["pandas", "numpy"])
        .with_apt_packages("git", "curl")
        .with_commands(["make"])
        .with_env_vars({"A": "1"})
        .with_env_vars({"B": "2"})
        .with_workdir("/app")
        .with_source_file(Path("a.py"), "/app")
        .with_source_folder("src", copy_contents_only=True)
        .with_uv_project("pyproject.toml")
    )
    assert plain.spec() == model.ImageSpec(python_version="3.12", name="x")
    spec = full.spec()
    assert spec.env_vars == (("A", "1"), ("B", "2"))
    assert spec.steps[:6] == (
        ImageStep("pip", ("numpy",), ("--index-url=https://i",)),
        ImageStep("pip", ("pandas", "numpy")),
        ImageStep("apt", ("git", "curl")),
        ImageStep("command", ("make",)),
        ImageStep("env", ("A=1", "B=2")),
        ImageStep("workdir", ("/app",)),
    )
    assert [step.kind for step in spec.steps[6:]] == ["file", "contents", "uv_project"]
    assert spec.steps[7].arguments == (str(Path("src").absolute()), ".")
    assert full.clone(name="y", python_version=(3, 11)).spec().python_version == "3.11"
    assert flyte.Image.from_base("python:3.12").spec().base == "python:3.12"
    dockerfile = flyte.Image.from_dockerfile("/x/Dockerfile", "r", "n").spec()
    assert (dockerfile.base, dockerfile.dockerfile, dockerfile.name) == ("", "/x/Dockerfile", "n")
    with pytest.raises(flyte.errors.NotSupportedError, match=r"Image\.with_magic"):
        plain.with_magic()
    with pytest.raises(TypeError, match="indexurl"):
        plain.with_pip_packages("x", indexurl="y")


def test_an_image_reads_requirements_and_inline_metadata(tmp_path: Path) -> None:
    (tmp_path / "more.txt").write_text("six\n")
    (tmp_path / "req.txt").write_text("numpy>=2  # fast\n\n# no\n--pre\n-r more.txt\nUnionAI.Reuse==1\n")
    spec = flyte.Image.from_debian_base().with_requirements(tmp_path / "req.txt").spec()
    assert spec.steps == (ImageStep("pip", ("numpy>=2", "six"), ("--pre",)),)
    script = tmp_path / "s.py"
    script.write_text('# /// script\n# dependencies = [\n#   "polars",\n#   "unionai-reuse",\n# ]\n# ///\nprint()\n')
    assert flyte.Image.from_uv_script(script, name="s").spec().steps == (ImageStep("pip", ("polars",)),)
    with pytest.raises(ValueError, match=r"none\.py cannot be read"):
        flyte.Image.from_uv_script(tmp_path / "none.py", name="s").spec()


@pytest.mark.parametrize("name", ["ml", "a-b_c1", "9"])
def test_good_names(name: str) -> None:
    assert flyte.TaskEnvironment(name).name == name


@pytest.mark.parametrize("name", ["", "Ml", "a--b", "-a", "a.b", "a-", "a b", "a\n", None])
def test_bad_names(name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        flyte.TaskEnvironment(name)


def test_the_environment_as_an_engine_sees_it() -> None:
    env = flyte.TaskEnvironment(
        "ml",
        secrets="token",
        env_vars={"B": "2", "A": "1"},
        resources=flyte.Resources(cpu=1),
        reusable=flyte.ReusePolicy(scope="run"),
        image=flyte.Image.from_debian_base().with_pip_packages("numpy"),
    )

    @env.task
    async def f() -> None: ...

    made = f.spec.environment
    assert (made.name, made.scope, made.limits.cpu) == ("ml", "run", 1.0)
    assert made.env_vars == (("A", "1"), ("B", "2"))
    assert made.secrets == (SecretSpec("TOKEN", "token"),)
    assert made.image.steps == (ImageStep("pip", ("numpy",)),)

    plain = flyte.TaskEnvironment("plain")

    @plain.task
    def g() -> None: ...

    settings = g.spec.environment.settings
    assert (settings.min_replicas, settings.concurrency, settings.max_tasks) == (0, 1, 1)
    assert settings.max_replicas >= 4
    assert g.spec.environment.image == model.ImageSpec()


def test_a_network_is_part_of_the_version_and_named_well() -> None:
    def environment(network: str | None) -> model.Environment:
        env = flyte.TaskEnvironment("ml", network=network)

        @env.task
        async def f() -> None: ...

        return f.spec.environment

    assert environment(None).network == ""
    assert environment("none").network == "none"
    assert len({environment(name).version for name in (None, "none", "bridge", "of-the-team")}) == 4
    for wrong in ("", "a b", "container:x", "-a", 1):
        with pytest.raises(ValueError, match=r"'ml': network=.* must be 'none', 'bridge', 'host' or the name"):
            flyte.TaskEnvironment("ml", network=wrong)  # type: ignore[arg-type]


def test_a_secret_may_be_a_file() -> None:
    (spec,) = to_secrets(flyte.Secret("certificate", group="web", mount="/etc/web/"))
    assert spec == SecretSpec("WEB_CERTIFICATE", "web/certificate", "/etc/web/")
    assert spec.path == "/etc/web/certificate"
    for wrong in ("etc/web", "", "/etc/../root"):
        with pytest.raises(ValueError, match=r"'k': mount=.* must be the absolute path of a folder"):
            flyte.Secret("k", mount=wrong)


def test_reuse_excludes_pod_templates_and_blocking_neighbours() -> None:
    with pytest.raises(ValueError, match="pod_template"):
        flyte.TaskEnvironment("ml", reusable=POLICY, pod_template="x")
    env = flyte.TaskEnvironment("ml", reusable=POLICY)
    with pytest.raises(ValueError, match=r"sync function.*async def.*concurrency=1"):
        env.task(lambda: None)
    with pytest.raises(ValueError, match="pod_template"):

        @env.task(pod_template="x")
        async def f() -> None: ...

    with pytest.raises(TypeError, match="ReusePolicy"):
        flyte.TaskEnvironment("ml", reusable=2)


def test_clones() -> None:
    other = flyte.TaskEnvironment("other")
    env = flyte.TaskEnvironment("ml", depends_on=[other], reusable=POLICY, env_vars={"A": "1"})
    clone = env.clone_with("ml2", env_vars=None, resources=flyte.Resources(cpu=1))
    assert (clone.name, clone.env_vars, clone.reusable) == ("ml2", {"A": "1"}, POLICY)
    assert clone.depends_on == [other]
    assert clone.depends_on is not env.depends_on
    assert env.clone_with("ml3", reusable=None).reusable is None
    with pytest.raises(TypeError, match="colour"):
        env.clone_with("ml4", colour=1)


def test_dependencies() -> None:
    env, other = flyte.TaskEnvironment("a"), flyte.TaskEnvironment("b")
    env.add_dependency(other, other)
    assert env.depends_on == [other]
    with pytest.raises(ValueError, match="itself"):
        env.add_dependency(env)
    with pytest.raises(TypeError, match="no TaskEnvironment"):
        env.add_dependency("b")


def test_from_task() -> None:
    env = flyte.TaskEnvironment("a", image="x")

    @env.task
    def f() -> None: ...

    assert env.tasks == {"a.f": f}
    made = flyte.TaskEnvironment.from_task("c", f, depends_on=[env])
    assert (made.tasks, made.depends_on, made.image) == ({"a.f": f}, [env], "x")
    g = flyte.TaskEnvironment("b").task(lambda: None)
    with pytest.raises(ValueError, match="images"):
        flyte.TaskEnvironment.from_task("c", f, g)
    with pytest.raises(ValueError, match="at least one"):
        flyte.TaskEnvironment.from_task("c")


def test_decorator_options() -> None:
    env = flyte.TaskEnvironment("a")

    @env.task(short_name="short", retries=2, timeout=5, cache="auto", report=True, max_inline_io_bytes=100)
    async def f(x: int) -> int:
        """Doc."""
        return x

    assert (f.name, f.short_name, f.__doc__, f.is_async) == ("a.f", "short", "Doc.", True)
    assert (f.spec.retry.count, f.spec.timeouts.max_runtime, f.spec.max_inline_io_bytes) == (2, 5, 100)
    assert f.spec is f.spec
    with pytest.raises(TypeError, match="retry"):
        env.task(retry=2)
    with pytest.raises(TypeError, match="resources belongs to the environment"):
        env.task(resources=flyte.Resources(cpu=1))
    with pytest.raises(ValueError, match="retries"):
        env.task(retries=-1)(f.fn)
    with pytest.raises(ValueError, match="max_inline_io_bytes"):
        env.task(max_inline_io_bytes=0)


def test_parameters_have_names() -> None:
    env = flyte.TaskEnvironment("a")
    with pytest.raises(ValueError, match="by name"):
        env.task(lambda *args: None)


def test_a_replica_takes_images_from_the_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an image names, a requirements file for example, need not be where the replica is."""
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("tea==1.0\n")
    child = flyte.TaskEnvironment("child-of-it", image=flyte.Image.from_debian_base().with_requirements(requirements))
    other = flyte.TaskEnvironment("other-of-it")
    described = other.describe(TaskOptions(), None)
    at_home = child.describe(TaskOptions(), None)
    assert dict(described.bundle.images)["child-of-it"] == at_home.image
    requirements.unlink()
    monkeypatch.setattr(bundle, "in_replica", True)
    monkeypatch.setattr(bundle, "_bundle", described.bundle)
    there = child.describe(TaskOptions(), None)
    assert (there.image, there.version) == (at_home.image, at_home.version)
    assert there.bundle.images == described.bundle.images


def test_what_an_environment_needs_is_all_that_it_depends_on() -> None:
    unreadable = flyte.Image.from_debian_base().with_requirements("no-such-file.txt")
    last = flyte.TaskEnvironment("last", image="last:1")
    middle = flyte.TaskEnvironment("middle", depends_on=[last], image="middle:1")
    broken = flyte.TaskEnvironment("broken", image=unreadable)
    first = flyte.TaskEnvironment("first", depends_on=[middle, last, broken])
    last.add_dependency(first)
    assert {each.name: each.image.base for each in first.needs()} == {"middle": "middle:1", "last": "last:1"}
    assert flyte.TaskEnvironment("alone").needs() == ()
