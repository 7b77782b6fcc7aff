"""Skills that clients upload, and their versions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple, TypeAlias

from msgspec import Meta
from starlette.types import Receive, Scope

from roost.doors.anthropic.errors import request_id
from roost.doors.managed.owners import account
from roost.doors.managed.requests import Asking, Query, answer, page_of, stamp, text_within
from roost.doors.multipart import Form
from roost.errors import Invalid, TooLarge
from roost.features.skills.duties import SkillsDuties
from roost.features.skills.folders import MOST_FILES
from roost.features.skills.uploaded import BYTES, SkillVersion, UploadedSkill, UploadedSkills
from roost.server.app_state import Api
from roost.server.door import Methods, needs
from roost.server.request_body import header, pieces
from roost.server.responses import Reply, ReplyCall

_NAME, _FORM, _PARTS, MOST = 255, 1024 * 1024, MOST_FILES + 10, 20
_Id: TypeAlias = Annotated[str, Meta(min_length=1, max_length=128)]


class CustomSkill(Asking, tag_field="type", tag="custom"):
    skill_id: _Id
    version: _Id | None = None


class AnthropicSkill(Asking, tag_field="type", tag="anthropic"):
    """A skill of the home that has this name."""

    skill_id: _Id
    version: _Id | None = None


SkillGiven: TypeAlias = CustomSkill | AnthropicSkill


class _Upload(NamedTuple):
    fields: dict[str, str]
    files: dict[str, bytes]


class Skills:
    def __init__(self, api: Api) -> None:
        self._api = api

    def routes(self) -> Mapping[str, Methods]:
        one, version = "/v1/skills/{skill}", "/v1/skills/{skill}/versions/{version}"
        return {
            "/v1/skills": {"GET": self.list, "POST": self.create},
            one: {"GET": self.get, "DELETE": self.delete},
            f"{one}/versions": {"GET": self.versions, "POST": self.add},
            version: {"GET": self.version, "DELETE": self.remove},
            f"{version}/content": {"GET": self.content},
        }

    @property
    def _duties(self) -> SkillsDuties:
        return self._api.runtime.node.feature(SkillsDuties)

    @property
    def _kept(self) -> UploadedSkills:
        return self._duties.uploaded

    async def shown(self, given: list[SkillGiven] | None) -> list[dict[str, Any]]:
        """Return what is kept of the skills of a definition: each in the version that it has now. Raises `Invalid` and
        `NotFound`."""
        if len(given or ()) > MOST:
            raise Invalid(f"skills: at most {MOST}")
        found = [
            await self._own(one) if isinstance(one, AnthropicSkill) else await self._uploaded(one)
            for one in given or ()
        ]
        if len({one["name"] for one in found}) < len(found):
            raise Invalid("skills: two have the same name")
        return found

    async def _own(self, given: AnthropicSkill) -> dict[str, Any]:
        names = {one.skill.name for one in await self._duties.finder.find(None) if one.usable}
        if given.skill_id not in names:
            raise Invalid(
                f"skills: {given.skill_id!r} is none of this home; put its folder into `skills` of the home, or upload"
                " it and name it as type 'custom'"
            )
        return {"type": "anthropic", "skill_id": given.skill_id, "version": "latest", "name": given.skill_id}

    async def _uploaded(self, given: CustomSkill) -> dict[str, Any]:
        skill = await self._kept.skills.get(given.skill_id, owner=account())
        wanted = skill.latest if given.version in (None, "latest") else given.version
        version = await self._kept.version(skill.id, wanted or "")
        return {"type": "custom", "skill_id": skill.id, "version": version.id, "name": version.name}

    @needs("use")
    async def create(self, scope: Scope, receive: Receive) -> ReplyCall:
        sent = await _read(scope, receive)
        display = sent.fields.get("display_name")
        if display is not None:
            text_within(display, "display_name", _NAME)
        return answer(_skill(await self._kept.make(account() or "", sent.files, display)))

    @needs("read")
    async def list(self, scope: Scope, receive: Receive) -> ReplyCall:
        query = Query(scope, ("limit", "page", "source"))
        own = query.text("source") in ("", "custom")
        return await page_of(self._kept.skills, query, _skill, owner=account(), fits=lambda _: own)

    @needs("read")
    async def get(self, scope: Scope, receive: Receive) -> ReplyCall:
        return answer(_skill(await self._skill(scope)))

    @needs("use")
    async def delete(self, scope: Scope, receive: Receive) -> ReplyCall:
        skill = await self._skill(scope)
        await self._kept.delete(skill)
        return answer({"id": skill.id, "type": "skill_deleted"})

    @needs("use")
    async def add(self, scope: Scope, receive: Receive) -> ReplyCall:
        skill = await self._skill(scope)
        sent = await _read(scope, receive)
        return answer(_version(await self._kept.add_version(skill, sent.files)))

    @needs("read")
    async def versions(self, scope: Scope, receive: Receive) -> ReplyCall:
        query, skill = Query(scope, ("limit", "page")), await self._skill(scope)
        return await page_of(self._kept.versions, query, _version, owner=None, key=("skill", skill.id))

    @needs("read")
    async def version(self, scope: Scope, receive: Receive) -> ReplyCall:
        return answer(_version(await self._one(scope)))

    @needs("use")
    async def remove(self, scope: Scope, receive: Receive) -> ReplyCall:
        version = await self._one(scope)
        await self._kept.delete_version(version)
        return answer({"id": version.id, "type": "skill_version_deleted"})

    @needs("read")
    async def content(self, scope: Scope, receive: Receive) -> ReplyCall:
        version = await self._one(scope)
        name = f'attachment; filename="{version.name}.zip"'.encode()
        headers = [(b"content-disposition", name), request_id()]
        return Reply(200, await self._kept.archive(version), content_type=b"application/zip", headers=headers)

    async def _skill(self, scope: Scope) -> UploadedSkill:
        return await self._kept.skills.get(scope["path_params"]["skill"], owner=account())

    async def _one(self, scope: Scope) -> SkillVersion:
        skill, id = await self._skill(scope), scope["path_params"]["version"]
        return await self._kept.version(skill.id, skill.latest if id == "latest" else id)


async def _read(scope: Scope, receive: Receive) -> _Upload:
    """Read a form of several files. Raises `Invalid`, `TooLarge`."""
    form = Form(header(scope, b"content-type") or "", pieces(receive, limit=BYTES + _FORM), most=_PARTS)
    files: dict[str, bytes] = {}
    size = 0
    while (part := await form.file(last=False)) is not None:
        if part.field.removesuffix("[]") != "files":
            raise Invalid(f"{part.field[:64]}: send the files in the form's field 'files[]'")
        content = bytearray()
        async for piece in part.content:
            content += piece
            size += len(piece)
            if size > BYTES:
                raise TooLarge(f"a skill has at most {BYTES >> 20} MiB")
        if part.name in files:
            raise Invalid(f"files: {part.name[:200]!r} is there twice")
        files[part.name] = bytes(content)
    if unknown := form.fields.keys() - {"display_name", "display_title"}:
        raise Invalid(f"{sorted(unknown)[0][:64]}: there is no such field")
    return _Upload(form.fields, files)


def _skill(one: UploadedSkill) -> dict[str, Any]:
    return {
        "type": "skill",
        "id": one.id,
        "display_name": one.display,
        "latest_version_id": one.latest,
        "source": "custom",
        "created_at": stamp(one.created),
        "updated_at": stamp(one.changed),
    }


def _version(one: SkillVersion) -> dict[str, Any]:
    return {
        "type": "skill_version",
        "id": one.id,
        "skill_id": one.skill,
        "name": one.name,
        "description": one.description,
        "created_at": stamp(one.created),
    }


def names_of(shown: list[dict[str, Any]]) -> tuple[str, ...] | None:
    """Return the names of the skills that a definition may use; None if it names none."""
    return tuple(one["name"] for one in shown) or None


def versions_of(shown: list[dict[str, Any]]) -> tuple[str, ...]:
    """Return the uploaded versions among the skills of a definition."""
    return tuple(one["version"] for one in shown if one["type"] == "custom")


def without_names(shown: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return skills as clients see them."""
    return [{key: value for key, value in one.items() if key != "name"} for one in shown]
