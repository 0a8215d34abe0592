"""REST of accounts: `/user/register`, `login`, `change_password`, `logout`; and `/healthz`."""

from __future__ import annotations

from typing import Annotated, Any, Final

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MaxLengthValidator, validate_email
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe
from drf_spectacular.utils import OpenApiExample, extend_schema
from pydantic import AfterValidator, BaseModel, Field
from pydantic_core import PydanticCustomError
from rest_framework.request import Request
from rest_framework.response import Response

from routing_app.events import service
from routing_app.events.rest import Detail, EventsView, Invalid, Message, RestProblem, bad_value, read
from routing_app.events.throttle import LoginThrottle
from routing_app.events.walker_context import Visitor

EMAIL_LENGTH: Final = 150
"""Of Django's user names; some letters are longer in lower case."""


def _checked_email(text: str) -> str:
    try:
        validate_email(text)
        MaxLengthValidator(EMAIL_LENGTH)(text.lower())
    except ValidationError:
        raise PydanticCustomError("value_error", "value is not a valid email address") from None
    return text


Email = Annotated[
    str,
    AfterValidator(_checked_email),
    Field(max_length=EMAIL_LENGTH, json_schema_extra={"format": "email"}, examples=["ann@example.com"]),
]
Password = Annotated[str, Field(max_length=1024)]


class Registration(BaseModel):
    """A new user; other fields are ignored."""

    email: Email
    password: Password


class Login(BaseModel):
    """The body of a login."""

    email: Annotated[str, Field(max_length=254)]
    password: Password


class Profile(BaseModel):
    """The user of a new token. `root_id` is the bare hex id: on sockets it is `n::` and that."""

    id: str
    email: str
    root_id: str
    is_activated: bool
    is_admin: bool
    expiration: int
    state: str


class LoggedIn(BaseModel):
    """A token for `Authorization: Bearer`, `?auth=` and `change_user`."""

    token: str
    user: Profile


class PasswordChange(BaseModel):
    """The old and the new password."""

    old_password: Password
    new_password: Password


class AccountDenied(BaseModel):
    """`message` when the old password is wrong, `detail` without a token."""

    message: str | None = None
    detail: str | None = None


CREDENTIALS: Final = {"email": "ann@example.com", "password": "a long password"}
PROFILE: Final = {
    "id": "65f1c0a9be2d4000000000ac",
    "email": "ann@example.com",
    "root_id": "65f1c0a9be2d4000000000ab",
    "is_activated": True,
    "is_admin": False,
    "expiration": 1795932000,
    "state": "active",
}
LOGGED_IN: Final = {"token": "eyJhbGciOi…", "user": PROFILE}
MISSING: Final = [{"type": "missing", "loc": ["body", "email"], "msg": "Field required", "input": {}}]
TOO_MANY: Final = "Request was throttled. Expected available in 30 seconds."


def says(status: int, **body: Any) -> OpenApiExample:
    """An answer for the document."""
    return OpenApiExample(f"Answer {status}", body, response_only=True, status_codes=[str(status)])


class RegisterView(EventsView):
    """Make a user."""

    authentication_classes = ()
    permission_classes = ()

    @extend_schema(
        operation_id="register",
        summary="Register a user",
        auth=[],
        request=Registration,
        responses={201: Message, 403: Detail, 409: Detail, 422: Invalid},
        examples=[
            OpenApiExample("A user", CREDENTIALS, request_only=True),
            says(201, message="Successfully Registered!"),
            says(403, detail="Registration is closed"),
            says(409, detail="Already Exists!"),
            says(422, detail=MISSING),
        ],
    )
    def post(self, request: Request) -> Response:
        """Register a user by e-mail address; the password has to pass Django's validators."""
        if not settings.EVENTS_REGISTER:
            raise RestProblem.detail(403, "Registration is closed")
        body = read(Registration, request)
        try:
            service.register(body.email, body.password)
        except ValidationError as error:
            raise RestProblem.invalid(bad_value(["body", "password"], error.messages)) from None
        except service.AlreadyExists:
            raise RestProblem.detail(409, "Already Exists!") from None
        return Response({"message": "Successfully Registered!"}, status=201)


class LoginView(EventsView):
    """Give out a token."""

    authentication_classes = ()
    permission_classes = ()
    throttle_classes = (LoginThrottle,)

    @extend_schema(
        operation_id="login",
        summary="Log in",
        auth=[],
        request=Login,
        responses={200: LoggedIn, 400: Message, 422: Invalid, 429: Detail},
        examples=[
            OpenApiExample("A user", CREDENTIALS, request_only=True),
            says(200, **LOGGED_IN),
            says(400, message="Invalid Email/Password!"),
            says(422, detail=MISSING),
            says(429, detail=TOO_MANY),
        ],
    )
    def post(self, request: Request) -> Response:
        """Log in; so many tries a minute, per network address and per user."""
        body = read(Login, request)
        result = service.log_in(request._request, body.email, body.password)
        if result is None:
            return Response({"message": "Invalid Email/Password!"}, status=400)
        token, row = result
        return Response({"token": token, "user": service.profile(row.user, row)})


class ChangePasswordView(EventsView):
    """Set a new password."""

    throttle_classes = (LoginThrottle,)

    @extend_schema(
        operation_id="change_password",
        summary="Change the password",
        request=PasswordChange,
        responses={200: Message, 401: Detail, 403: AccountDenied, 422: Invalid, 429: Detail},
        examples=[
            OpenApiExample(
                "Passwords",
                {"old_password": "old and long", "new_password": "new and long"},
                request_only=True,
            ),
            says(200, message="Successfully Updated!"),
            says(401, detail="Not authenticated"),
            says(403, message="Update Failed!"),
            says(422, detail=MISSING),
            says(429, detail=TOO_MANY),
        ],
    )
    def post(self, request: Request) -> Response:
        """Change the password; every token of the user becomes void, this one too."""
        body = read(PasswordChange, request)
        try:
            user: Any = request.user  # authenticated, so not the anonymous one
            changed = service.change_password(user, body.old_password, body.new_password)
        except ValidationError as error:
            raise RestProblem.invalid(bad_value(["body", "new_password"], error.messages)) from None
        if not changed:
            return Response({"message": "Update Failed!"}, status=403)
        return Response({"message": "Successfully Updated!"})


class LogoutView(EventsView):
    """Void the token of the request."""

    @extend_schema(
        operation_id="logout",
        summary="Log out",
        request=None,
        responses={200: Message, 401: Detail, 403: Detail},
        examples=[
            says(200, message="Successfully Logged Out!"),
            says(401, detail="Not authenticated"),
            says(403, detail="Invalid token"),
        ],
    )
    def post(self, request: Request) -> Response:
        """Log out: the token becomes void, and its sockets learn it."""
        assert isinstance(request.auth, Visitor)
        service.log_out(request.auth.jti)
        return Response({"message": "Successfully Logged Out!"})


@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """200 and nothing else."""
    return HttpResponse()
