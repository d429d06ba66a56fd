"""The job files of docker/: valid by the systems' own schemas, and right about this program."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from image_fixtures import DOCKER, image_user, parsed, tool
from job_file_fixtures import PLACEHOLDER, VALUES, comment_at_top, filled, placeholders
from synthesis_fixtures import invoke, make_workplace

from noisegen.synthesis.interrupt import Interrupted

FILES = ("kubernetes.yaml", "aws-batch-job-definition.yaml", "aws-batch-submit.yaml", "gcp-batch.yaml")
# what a build may need to end after SIGTERM, by docs/reliability.md
SECONDS_TO_END = 10
INTERRUPTED = Interrupted(15).exit_code


@pytest.fixture(scope="module")
def usage_error() -> int:
    """The exit code of a request that cannot be carried out."""
    return invoke("build-dataset", "absent.parquet", "-o", "nowhere").exit_code


@pytest.fixture(scope="module")
def recorded_failures(tmp_path_factory: pytest.TempPathFactory) -> int:
    """The exit code of a build that is done but for rows that failed."""
    place = make_workplace(tmp_path_factory.mktemp("recorded"), photographs=1, bad_rows=True)
    return invoke(*place.arguments(place.root / "out")).exit_code


def the_job() -> dict[str, Any]:
    """The Job of kubernetes.yaml."""
    return next(d for d in filled("kubernetes.yaml") if d["kind"] == "Job")


def command_lines() -> dict[str, list[str]]:
    """What each job file gives to the image's entry point."""
    (task_group,) = filled("gcp-batch.yaml")[0]["taskGroups"]
    compose = filled("compose.yaml")[0]["services"]
    return {
        "kubernetes": the_job()["spec"]["template"]["spec"]["containers"][0]["args"],
        "aws": filled("aws-batch-job-definition.yaml")[0]["containerProperties"]["command"],
        "gcp": task_group["taskSpec"]["runnables"][0]["container"]["commands"],
        **{f"compose {name}": service["command"] for name, service in compose.items()},
    }


@pytest.mark.parametrize("name", FILES)
def test_the_top_of_each_file_explains_its_placeholders_and_no_others(name: str) -> None:
    explained = set(re.findall(r"^#   (YOUR_\w+)  ", comment_at_top(name), re.MULTILINE))
    assert explained == placeholders(name) != set()
    assert explained <= set(VALUES)


@pytest.mark.parametrize("name", sorted(command_lines()))
def test_the_command_line_is_one_that_noisegen_understands(name: str) -> None:
    arguments = command_lines()[name]
    assert arguments[0] == "build-dataset"
    parameters = parsed(arguments)
    assert str(parameters["manifest"]).endswith("photos/manifest.parquet")
    assert not PLACEHOLDER.search(json.dumps(arguments))


@pytest.mark.parametrize("version", ["1.29", "1.37"])
@pytest.mark.parametrize("document", [0, 1])
def test_kubernetes_schema_accepts_it(version: str, document: int) -> None:
    validator = pytest.importorskip("kubernetes_validate")
    validator.validate(filled("kubernetes.yaml")[document], version, strict=True)


def test_kubernetes_ranks_know_how_many_they_are() -> None:
    spec = the_job()["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    assert spec["completionMode"] == "Indexed"
    assert {"name": "JOB_COMPLETIONS", "value": str(spec["completions"])} in container["env"]
    assert spec["parallelism"] <= spec["completions"]


def test_kubernetes_treats_each_exit_code_as_it_is_meant(usage_error: int, recorded_failures: int) -> None:
    spec = the_job()["spec"]
    pod = spec["template"]["spec"]
    by_code = {}
    by_condition = {}
    for rule in spec["podFailurePolicy"]["rules"]:
        for condition in rule.get("onPodConditions", []):
            by_condition[condition["type"]] = rule["action"]
        if "onExitCodes" in rule:
            assert rule["onExitCodes"]["containerName"] == pod["containers"][0]["name"]
            by_code.update(dict.fromkeys(rule["onExitCodes"]["values"], rule["action"]))
    assert by_code == {usage_error: "FailJob", recorded_failures: "FailIndex", INTERRUPTED: "Ignore"}
    assert by_condition == {"DisruptionTarget": "Ignore"}
    # what the API server asks for beyond the schema
    assert pod["restartPolicy"] == "Never"
    assert spec["podReplacementPolicy"] == "Failed"
    assert spec["backoffLimitPerIndex"] > 0
    # ranks that are done with recorded failures count as failed, and must not end the others
    assert spec["maxFailedIndexes"] == spec["completions"]


def test_kubernetes_gives_a_build_time_to_end_and_room_to_write() -> None:
    pod = the_job()["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["terminationGracePeriodSeconds"] > SECONDS_TO_END
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    mounted = {mount["mountPath"]: volumes[mount["name"]] for mount in container["volumeMounts"]}
    staging = str(parsed(container["args"])["staging"])
    # the root is read-only; the image's HOME and Python's temporary files are in /tmp
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert all("emptyDir" in mounted[path] for path in (staging, "/tmp"))


def test_kubernetes_runs_as_the_image_s_user_with_the_service_account_of_the_file() -> None:
    pod = the_job()["spec"]["template"]["spec"]
    account = next(d for d in filled("kubernetes.yaml") if d["kind"] == "ServiceAccount")
    assert pod["serviceAccountName"] == account["metadata"]["name"]
    assert pod["securityContext"]["runAsUser"] == image_user()
    assert pod["securityContext"]["runAsNonRoot"]
    # of a GPU requests must equal limits, and are left out
    resources = pod["containers"][0]["resources"]
    assert resources["limits"]["nvidia.com/gpu"] == 1
    assert "nvidia.com/gpu" not in resources["requests"]


@pytest.mark.parametrize(
    ("name", "operation"),
    [("aws-batch-job-definition.yaml", "RegisterJobDefinition"), ("aws-batch-submit.yaml", "SubmitJob")],
)
def test_aws_api_accepts_the_request(name: str, operation: str) -> None:
    session = pytest.importorskip("botocore.session")
    from botocore.validate import ParamValidator

    shape = session.get_session().get_service_model("batch").operation_model(operation).input_shape
    report = ParamValidator().validate(filled(name)[0], shape)
    assert not report.has_errors(), report.generate_report()


def test_aws_tries_again_but_for_exit_codes_that_would_come_again(
    usage_error: int, recorded_failures: int
) -> None:
    definition = filled("aws-batch-job-definition.yaml")[0]
    *stops, otherwise = definition["retryStrategy"]["evaluateOnExit"]
    assert stops == [
        {"onExitCode": str(code), "action": "EXIT"} for code in sorted([usage_error, recorded_failures])
    ]
    assert otherwise["action"] == "RETRY"
    assert definition["retryStrategy"]["attempts"] > 1


def test_aws_submits_an_array_of_the_job_that_is_defined() -> None:
    definition, submitted = filled("aws-batch-job-definition.yaml")[0], filled("aws-batch-submit.yaml")[0]
    assert submitted["jobDefinition"] == definition["jobDefinitionName"]
    # the service's limits
    assert 2 <= submitted["arrayProperties"]["size"] <= 10_000
    assert int(definition["containerProperties"]["user"].partition(":")[0]) == image_user()


def test_gcp_s_message_types_accept_it() -> None:
    batch = pytest.importorskip("google.cloud.batch_v1")
    from google.protobuf import json_format

    job = json_format.ParseDict(filled("gcp-batch.yaml")[0], batch.Job.pb(batch.Job()))
    assert job.task_groups[0].task_count == 8


def test_gcp_tries_again_but_for_exit_codes_that_would_come_again(
    usage_error: int, recorded_failures: int
) -> None:
    (group,) = filled("gcp-batch.yaml")[0]["taskGroups"]
    (policy,) = group["taskSpec"]["lifecyclePolicies"]
    assert policy["action"] == "FAIL_TASK"  # and all other codes are retried
    assert set(policy["actionCondition"]["exitCodes"]) == {usage_error, recorded_failures}
    assert 0 < group["taskSpec"]["maxRetryCount"] <= 10  # the service's limit


def test_compose_schema_accepts_the_file() -> None:
    done = subprocess.run(
        [tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", str(DOCKER / "compose.yaml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_compose_mounts_what_the_command_names_and_gives_it_time_to_end() -> None:
    for service in filled("compose.yaml")[0]["services"].values():
        parameters = parsed(service["command"])
        mounted = {volume["target"]: volume.get("read_only", False) for volume in service["volumes"]}
        assert mounted == {
            str(Path(parameters["manifest"]).parent): True,
            str(Path(parameters["output"]).parent): False,
        }
        assert int(service["stop_grace_period"].removesuffix("s")) > SECONDS_TO_END
        assert f"{image_user()}:" in service["user"]


def test_compose_explains_the_variables_it_reads() -> None:
    text = (DOCKER / "compose.yaml").read_text(encoding="utf-8")
    explained = set(re.findall(r"^#   ([A-Z_]+)  ", comment_at_top("compose.yaml"), re.MULTILINE))
    assert explained == set(re.findall(r"\$\{([A-Z_]+)", text))
