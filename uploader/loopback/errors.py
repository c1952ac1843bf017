"""What can be answered instead of success.

RefusedError
├── ApiError                    JSON `{"detail": ...}`, as the API answers
│   └── InvalidRequestError     422: the request itself is wrong, one entry per problem
└── StoreError                  S3-style XML, as the object store behind the upload URLs answers
"""

from dataclasses import dataclass
from http import HTTPStatus


class RefusedError(Exception):
    """A request that is answered with an error."""


class ApiError(RefusedError):
    """An error answer of the JSON API."""

    def __init__(self, status: HTTPStatus, detail: object, *, retry_after_s: int | None = None) -> None:
        super().__init__(f"{status.value}: {detail}")
        self.status = status
        self.detail = detail
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing wrong with a request: where (`body`, `query` or `path`), which field, and what."""

    where: str
    field: str | None
    message: str


class InvalidRequestError(ApiError):
    """The request does not follow the protocol; every problem found is named, in the API's own layout."""

    def __init__(self, *problems: Problem) -> None:
        detail = [
            {
                "loc": [part for part in (p.where, p.field) if part is not None],
                "msg": p.message,
                "type": "value_error",
            }
            for p in problems
        ]
        super().__init__(HTTPStatus.UNPROCESSABLE_ENTITY, detail)
        self.problems = problems


class StoreError(RefusedError):
    """An error answer of the object store: an HTTP status and S3's own error code."""

    def __init__(self, status: HTTPStatus, code: str, message: str) -> None:
        super().__init__(f"{status.value} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message
