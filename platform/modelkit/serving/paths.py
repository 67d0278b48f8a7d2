"""Where the serving files of a data folder lie. Light."""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

#: Linux allows 107 bytes in a socket's path; our longest name needs the rest.
_MAX_RUN_BYTES = 62


@dataclass(frozen=True)
class ServingPaths:
    """The layout under `$TUNEYARD_HOME`; see `ensure` for what must exist."""

    home: Path

    @property
    def folder(self) -> Path:
        return self.home / "serving"

    @property
    def desired(self) -> Path:
        return self.folder / "desired.json"

    @property
    def keys(self) -> Path:
        return self.folder / "keys.json"

    @property
    def keys_lock(self) -> Path:
        return self.folder / "keys.lock"

    @property
    def key_usage(self) -> Path:
        return self.folder / "key-usage.json"

    @property
    def observed(self) -> Path:
        return self.folder / "observed.json"

    @property
    def routing(self) -> Path:
        return self.folder / "routing.json"

    @property
    def state(self) -> Path:
        return self.folder / "agent.json"

    @property
    def shadow(self) -> Path:
        """Where the front leaves what it compared, for the control plane to take in."""
        return self.folder / "shadow"

    @property
    def lock(self) -> Path:
        return self.folder / "agent.lock"

    @property
    def desired_lock(self) -> Path:
        return self.folder / "desired.lock"

    @property
    def journal(self) -> Path:
        """The front's figures (`modelkit.serving.journal`)."""
        return self.folder / "figures"

    @property
    def samples(self) -> Path:
        """Segments of the sampled request log; beside `routing.json`, where the front finds it."""
        return self.folder / "samples"

    @property
    def logs(self) -> Path:
        return self.home / "logs" / "serving"

    @property
    def run(self) -> Path:
        """Sockets: `run/` of the home, or a private folder under the temporary one where that path is too long."""
        run = self.home.absolute() / "run"
        if len(os.fsencode(run)) <= _MAX_RUN_BYTES:
            return run
        name = hashlib.sha256(os.fsencode(self.home.absolute())).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"tuneyard-{os.getuid()}-{name}"

    @property
    def control(self) -> Path:
        return self.run / "front.sock"

    @property
    def custody(self) -> Path:
        """Where the front entrusts its connections to the agent."""
        return self.run / "custody.sock"

    def socket(self, workspace: str, name: str, number: int, replica: int = 0) -> Path:
        digest = hashlib.sha256(f"{workspace}/{name}".encode()).hexdigest()[:12]
        return self.run / f"r-{digest}-{number}{f'-{replica}' if replica else ''}.sock"

    def log(self, workspace: str, name: str, number: int) -> Path:
        return self.logs / f"{workspace}-{name}-{number}.log"

    def ensure(self) -> None:
        """Make the folders; the one of the sockets is for us alone. Raises PermissionError where it is another's."""
        for folder in (self.folder, self.logs):
            folder.mkdir(parents=True, exist_ok=True)
        self.run.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.run.stat().st_uid != os.getuid():
            raise PermissionError(f"{self.run} belongs to another user.")
        if self.run.parent != self.home.absolute():
            self.run.chmod(0o700)
