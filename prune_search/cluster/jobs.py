"""Searches as Ray Jobs: started and followed from anywhere that reaches the cluster's dashboard, and gone on with when that is closed."""

from __future__ import annotations

import asyncio
import logging
import shlex
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prune_search.cluster.entry import from_a_copy
from prune_search.errors import UserError, nearest
from prune_search.spec import Spec

SEARCH, RUNS = "prune_search.search", "prune_search.runs"
STARTED = "Running entrypoint for job"


class Jobs:
    """The searches of a cluster that were submitted to it.

    Args:
        address: ``http://HOST:8265``, where its dashboard listens; None: Ray's own default, such as RAY_API_SERVER_ADDRESS.

    Raises:
        UserError: Nothing answers there, or Ray lacks its dashboard.
    """

    def __init__(self, address: str | None):
        try:
            from ray.exceptions import RayError
            from ray.job_submission import JobSubmissionClient
        except ImportError as error:
            raise UserError(f"this needs Ray's dashboard ({error}): pip install 'prune-search[cluster]'.") from None
        try:
            self._client: Any = JobSubmissionClient(address)
        except (RayError, ConnectionError, RuntimeError, ValueError) as error:
            cause = str(error).strip().split("\n")[0]
            raise UserError(
                f"--address {address or 'is not given, and Ray names none'}: no cluster takes jobs there: {cause} "
                "Give the address of its dashboard, such as http://HOST:8265; where it wants a token, set RAY_AUTH_MODE=token."
            ) from None
        for teller in ("ray", "ray.dashboard.modules.job.sdk", "ray.dashboard.modules.dashboard_sdk"):
            logging.getLogger(teller).setLevel(logging.WARNING)  # of every upload and connection

    def submit(self, spec: Spec, name: str, runs: str) -> str:
        """Start a search as a job, or go on with the one that ``runs`` has under this name.

        The search space travels, overrides included, with the modules of the user's own that it names.

        Args:
            spec: The search space.
            name: The search's name.
            runs: Where it writes: a folder that all nodes see.

        Returns:
            The job's id.

        Raises:
            UserError: A job runs this search now.
        """
        running = [job for job in self._all(name) if not job.status.is_terminal()]
        if running:
            raise UserError(
                f"search '{name}' is running as job {running[0].submission_id}. Follow it with: prune-search logs {name} --follow"
            )
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "space.yaml").write_text(spec.to_yaml())
            for module in spec.own_modules():
                _copy(module, Path(folder))
            return self._client.submit_job(
                entrypoint=from_a_copy(name, runs),
                submission_id=f"{name}-{uuid.uuid4().hex[:8]}",
                metadata={SEARCH: name, RUNS: runs},
                runtime_env={"working_dir": folder},
            )

    def logs(self, name: str, follow: bool) -> Iterator[str]:
        """What the newest job of a search printed; with ``follow`` until it ends.

        Raises:
            UserError: There is no such job.
        """
        job = self._newest(name).submission_id
        if not follow:
            yield self._client.get_job_logs(job)
            return
        yield from self._followed(job)

    def ask(self, command: str, name: str) -> tuple[str, bool]:
        """Run ``prune-search COMMAND NAME`` where the search writes.

        Returns:
            What it printed, and whether it succeeded.

        Raises:
            UserError: There is no such job.
        """
        runs = self._newest(name).metadata[RUNS]
        command = shlex.join(["prune-search", *command.split(), name, "--runs", runs])
        job = self._client.submit_job(entrypoint=command)
        printed = "".join(self._followed(job))
        succeeded = self._client.get_job_status(job).value == "SUCCEEDED"
        return printed.partition(STARTED)[2].partition("\n")[2].rstrip("\n") + "\n", succeeded

    def stop(self, name: str) -> str:
        """End a search gracefully, its job if that has not come to the search yet; what was done.

        Raises:
            UserError: There is no such job.
        """
        printed, _ = self.ask("stop", name)
        job = self._newest(name)
        if "is asked to stop" in printed or job.status.is_terminal():
            return printed
        self._client.stop_job(job.submission_id)
        return f"job {job.submission_id} is ended; its search had not begun.\n"

    def _followed(self, job: str) -> Iterator[str]:
        lines, loop = self._client.tail_job_logs(job), asyncio.new_event_loop()
        try:
            while True:
                yield loop.run_until_complete(anext(lines))
        except StopAsyncIteration:
            return
        finally:
            loop.close()

    def _all(self, name: str | None = None) -> list[Any]:
        jobs = [job for job in self._client.list_jobs() if SEARCH in (job.metadata or {})]
        return [job for job in jobs if name in (None, job.metadata[SEARCH])]

    def _newest(self, name: str) -> Any:
        jobs = self._all(name)
        if not jobs:
            known = sorted({job.metadata[SEARCH] for job in self._all()})
            raise UserError(
                f"no job of a search called '{name}' on this cluster.{nearest(name, known)} "
                f"Known: {', '.join(known) or 'none yet'}. Start one: prune-search submit SPACE.yaml --name {name}"
            )
        return max(jobs, key=lambda job: job.start_time or 0)


def _copy(module: Path, folder: Path) -> None:
    if module.is_dir():
        shutil.copytree(module, folder / module.name, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    else:
        shutil.copy(module, folder)
