"""The Hugging Face Hub: bundles come from it into the local cache, and go to it.

Where the Hub is (``HF_ENDPOINT``), where the cache lies (``HF_HOME``), whether the network may be used
(``HF_HUB_OFFLINE``) and who is asking (``HF_TOKEN`` or ``hf auth login``) is huggingface_hub's own affair: no token
passes through here, and none is shown.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token, hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import validate_repo_id

from sundae.checkpoint import read_config, read_parts
from sundae.version import __version__

PROGRAM = f"sundae/{__version__}"
# What a bundle leaves in a repository, besides the files that its config names.
OWN_FILES = re.compile(
    r"\.gitattributes|README\.md|config\.json|(tokenizer|prior)(-\d+-of-\d+)?\.safetensors"
)
WEIGHTS = re.compile(r"(tokenizer|prior)(-\d+-of-\d+)?\.safetensors")


@dataclass(frozen=True)
class Repository:
    """A model repository on the Hub at a branch, tag or commit."""

    id: str  # owner/name
    revision: str = "main"

    def __str__(self) -> str:
        return self.id if self.revision == "main" else f"{self.id}@{self.revision}"


def parse(name: str) -> Repository | None:
    """``owner/name`` or ``owner/name@revision``; None for what cannot be one."""
    repo_id, at, revision = name.partition("@")
    if repo_id.count("/") != 1 or (at and not re.fullmatch(r"\w[\w./-]*", revision, re.ASCII)):
        return None
    try:
        validate_repo_id(repo_id)
    except HFValidationError:
        return None
    return Repository(repo_id, revision or "main") if ".." not in revision else None


def fetch(repository: Repository) -> Path:
    """The folder of a repository's bundle in the local cache; what is not there yet is downloaded.

    Only ``config.json`` and the weights that it names are. A broken connection is taken up again, what is complete
    is not fetched twice, and without a network what the cache holds is used. The weights' SHA-256 is compared with
    the config's when they are loaded.

    Raises:
        ValueError: if there is no such repository, revision or bundle, or it is neither cached nor within reach.
    """
    # The folder has the commit's name: what else is fetched is of that commit, whatever the branch does meanwhile.
    folder = download(repository, "config.json", repository.revision).parent
    for name, part in read_parts(folder).items():
        if "bundle" in part:
            raise ValueError(
                f"expected the {name}'s weights in {repository}, got those of {part['bundle']!r}"
            )
        for file in part["files"]:
            download(repository, file, folder.name)
    return folder


def download(repository: Repository, file: str, revision: str) -> Path:
    """One file of a repository, in the local cache."""
    with plain_errors(repository, file):
        return Path(hf_hub_download(repository.id, file, revision=revision, user_agent=PROGRAM))


def check_login(repository: Repository) -> None:
    """Raise ValueError unless somebody is logged in; whether they may write is the Hub's to say."""
    if login() is None:
        raise ValueError(
            f"expected a login that may write {repository} (hf auth login, or HF_TOKEN), got none"
        )


def upload(
    repository: Repository, files: Mapping[str, Path | bytes], private: bool, message: str
) -> tuple[str, str]:
    """Make ``files`` the bundle of a repository, in one commit; the repository is made if there is none.

    Args:
        repository: the revision is a branch, made if there is none.
        files: by name, what they hold or where that lies.
        private: whether a repository that has to be made is to be private.
        message: of the commit.

    Returns:
        The commit's address and hash.

    Raises:
        ValueError: if the Hub refuses or is out of reach, or the repository holds something else.
    """
    api = HfApi(user_agent=PROGRAM)
    present = make_room(api, repository, private)
    with plain_errors(repository):
        add = [
            CommitOperationAdd(name, content if isinstance(content, bytes) else str(content))
            for name, content in files.items()
        ]
        old = [name for name in present if WEIGHTS.fullmatch(name) and name not in files]
        drop = [CommitOperationDelete(name) for name in old]
        commit = api.create_commit(
            repository.id, [*add, *drop], commit_message=message, revision=repository.revision
        )
    return commit.commit_url, commit.oid


def make_room(api: HfApi, repository: Repository, private: bool) -> list[str]:
    """Make a repository, and the branch of it that is asked for, unless they are there; the files that they hold.

    Raises:
        ValueError: as :func:`upload`.
    """
    base = repository
    with plain_errors(repository):
        api.create_repo(repository.id, private=private or None, exist_ok=True)  # None: as its owner has set
        try:
            present = api.list_repo_files(base.id, revision=base.revision)
        except RevisionNotFoundError:
            base = Repository(repository.id)  # a new branch begins as main is
            present = api.list_repo_files(base.id, revision=base.revision)
    check_ours(base, present)
    if base != repository:
        with plain_errors(repository):
            api.create_branch(repository.id, branch=repository.revision)
    return present


def check_ours(repository: Repository, present: list[str]) -> None:
    """Raise ValueError if a repository holds files, but no bundle: it is somebody's, and for something else."""
    others = [name for name in present if not OWN_FILES.fullmatch(name)]
    if "config.json" in present:
        folder = download(repository, "config.json", repository.revision).parent
        try:
            read_config(folder)
            return
        except ValueError:
            others = ["another kind of config.json"]
    if others:
        raise ValueError(
            f"expected a new repository or one that holds a bundle, got {repository} with {others[0]}"
        )


@contextlib.contextmanager
def plain_errors(repository: Repository, file: str = "such file") -> Iterator[None]:
    """Turn what huggingface_hub and the network raise, nearly every exception there is, into one line."""
    try:
        yield
    except LocalEntryNotFoundError:
        raise ValueError(
            f"expected a folder, a cached repository or a Hub within reach for {str(repository)!r}, got none"
        ) from None
    except EntryNotFoundError:
        raise ValueError(f"expected a bundle in {repository} on the Hub, found no {file} there") from None
    except RevisionNotFoundError:
        raise ValueError(
            f"expected a branch, tag or commit of {repository.id}, got {repository.revision!r}, which is none"
        ) from None
    except GatedRepoError:
        raise ValueError(
            f"expected a repository open to you, got {repository}, whose terms are to be accepted on its page first"
        ) from None
    except RepositoryNotFoundError:
        raise ValueError(
            f"expected a folder or a repository on the Hub, got {repository.id!r}, which is neither, or is not yours to see"
        ) from None
    except HfHubHTTPError as error:
        answer = without_secrets(error.server_message or "without saying why")
        raise ValueError(
            f"expected the Hub to do as asked with {repository}, got status {error.response.status_code}: {answer}"
        ) from None
    except Exception as error:
        reason = without_secrets(str(error)) or type(error).__name__
        raise ValueError(f"expected an exchange with the Hub about {repository}, got: {reason}") from None


def without_secrets(text: str) -> str:
    """Text on one line, at most 200 characters, the token taken out: a header that is refused is quoted."""
    if token := login():
        for secret in (token, token.encode("unicode_escape").decode()):
            text = text.replace(secret, "…")
    return " ".join(text.split())[:200]


def login() -> str | None:
    """The user's token; None without one, or if it cannot be had."""
    with contextlib.suppress(Exception):
        return get_token()
    return None
