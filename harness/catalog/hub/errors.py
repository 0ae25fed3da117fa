"""Errors of the hub: each answer of `huggingface_hub` in words, with the edit or command for it."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from harness.contract import HarnessError
from harness.toolkit import printable

#: How to show the hub who asks.
_SIGN_IN = "`hf auth login`, or set HF_TOKEN"

#: The longest text of an error that is repeated.
_LONGEST = 300


class HubUnreachable(HarnessError):
    """No answer from the hub at all: no repository of it can be had."""


@contextmanager
def told(repository: str, endpoint: str) -> Iterator[None]:
    """Turns what `huggingface_hub` raises into a HarnessError that says how to go on.

    Args:
        repository: ORGANISATION/NAME.
        endpoint: the hub's address.

    Raises:
        HubUnreachable: no answer came, or HF_HUB_OFFLINE forbids to ask.
        HarnessError: the repository, revision or file is not to be had, or there is no room.
    """
    try:
        yield
    except HarnessError:
        raise
    except Exception as error:
        raise _in_words(error, repository, endpoint) from error


def _in_words(error: BaseException, repository: str, endpoint: str) -> HarnessError:
    from huggingface_hub import errors

    page = f"{endpoint}/{repository}"
    causes = list(_chain(error))
    if any(isinstance(cause, errors.OfflineModeIsEnabled) for cause in causes):
        return offline(repository)
    for cause in causes:
        if isinstance(cause, errors.GatedRepoError):
            return HarnessError(
                f"expected access to {repository}, which is gated, found none with "
                f"{_token()}. Fix: ask for it on {page}, then {_SIGN_IN}"
            )
        if isinstance(cause, errors.RevisionNotFoundError):
            return HarnessError(
                f"expected a revision of {repository} at {endpoint}, found no such branch, tag or "
                "commit. Fix: correct `revision` in the model list"
            )
        if isinstance(cause, errors.RepositoryNotFoundError):
            return HarnessError(
                f"expected a repository {repository} at {endpoint}, found none that can be seen "
                f"with {_token()}. Fix: correct `checkpoint` in the model list; where it is "
                f"private, {_SIGN_IN}"
            )
        if isinstance(cause, errors.EntryNotFoundError) and not _is_local(cause):
            return HarnessError(
                f"expected a file that {repository} lists, found none at {page}. Fix: run it "
                "again, the repository has just changed"
            )
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
            return HarnessError(
                f"expected room for {repository}, found a full disk. Nothing half written is "
                "left. Fix: make room there, or let HF_HUB_CACHE name a folder on another disk"
            )
    names = {cls.__name__ for cause in causes for cls in type(cause).__mro__}
    if "TimeoutException" in names:
        return HarnessError(
            f"expected an answer of {endpoint} about {repository} in time, found none. Files that "
            "are complete are kept. Fix: run it again; HF_HUB_DOWNLOAD_TIMEOUT and "
            "HF_HUB_ETAG_TIMEOUT say how many seconds are waited for an answer (10)"
        )
    if "ConnectError" in names:
        return HubUnreachable(
            f"expected {endpoint} to answer, found: {_said(causes[-1])}. Fix: connect to the "
            "network, let HF_ENDPOINT name a mirror, or give --checkpoints a folder"
        )
    if "Consistency check failed" in str(error) or "RemoteProtocolError" in names:
        return HarnessError(
            f"expected all of {repository}, found that a file of it ends early. Nothing half "
            "written is left. Fix: run it again, files that are complete are kept"
        )
    return HarnessError(
        f"expected {repository} from {endpoint}, found {type(error).__name__}: {_said(error)}. "
        "Fix: run it again later"
    )


def offline(repository: str) -> HubUnreachable:
    """The error for a repository that is not in the cache while no download is allowed."""
    return HubUnreachable(
        f"expected leave to download {repository}, found HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE "
        "set, which forbids it. Fix: unset it"
    )


def _token() -> str:
    """The credentials that requests carry, without them."""
    from huggingface_hub import get_token

    return "this account's token" if get_token() else "no token"


def _is_local(error: BaseException) -> bool:
    """Whether the hub was not asked; its cause says why."""
    return type(error).__name__ == "LocalEntryNotFoundError"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and its causes, the outermost first."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _said(error: BaseException) -> str:
    return printable.line(str(error), _LONGEST) or type(error).__name__
