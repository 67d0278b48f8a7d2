"""Which column plays which role of the task. Light.

A name decides where it can: the role's own name, then its synonyms. What is left goes by content: long, varied cells
are text, few repeated values are a category. A role that two columns could play is left to the user.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from modelkit.contracts import Column
from modelkit.errors import UserError


@dataclass(frozen=True)
class Profile:
    """A column as the first rows show it."""

    name: str
    filled: float
    distinct: int
    values: int
    mean_chars: float
    max_chars: int
    examples: tuple[str, ...]

    @property
    def looks_like_text(self) -> bool:
        wide = self.mean_chars >= 12 or (self.mean_chars >= 4 and not self._ascii)
        return self.filled >= 0.5 and wide and self.distinct > 0.4 * self.values

    @property
    def looks_like_category(self) -> bool:
        few = self.distinct <= max(2, 0.3 * self.values)
        return self.filled >= 0.5 and few and self.max_chars <= 100

    @property
    def _ascii(self) -> bool:
        return all(example.isascii() for example in self.examples)

    def as_dict(self) -> dict[str, object]:
        return {
            "name": self.name,
            "distinct": self.distinct,
            "filled": round(self.filled, 3),
            "examples": self.examples,
        }


def profile_columns(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[Profile]:
    """Profiles of the columns over some rows."""
    profiles = []
    for index, name in enumerate(columns):
        values = [value for row in rows if (value := row[index].strip())]
        distinct = list(dict.fromkeys(values))
        profiles.append(
            Profile(
                name=name,
                filled=len(values) / len(rows) if rows else 0.0,
                distinct=len(distinct),
                values=len(values),
                mean_chars=sum(map(len, values)) / len(values) if values else 0.0,
                max_chars=max(map(len, values), default=0),
                examples=tuple(value[:80] for value in distinct[:3]),
            )
        )
    return profiles


@dataclass(frozen=True)
class RoleMapping:
    """Role -> column; `missing` roles are required and unresolved, `suggestions` rank the columns for each of them.

    `unlike` are those of the missing roles that no column looks like.
    """

    columns: dict[str, str]
    missing: tuple[str, ...] = ()
    suggestions: dict[str, list[str]] = field(default_factory=dict)
    unlike: frozenset[str] = frozenset()


def _plain(name: str) -> str:
    return name.strip().lower().replace("-", "_").replace(" ", "_")


def known_names(roles: Sequence[Column]) -> tuple[str, ...]:
    """Header names that tell a header from data."""
    return tuple({name for role in roles for name in (role.role, *role.synonyms)})


def check_declared(declared: Mapping[str, str], roles: Sequence[Column], columns: Sequence[str], file: str) -> None:
    """Raise UserError `unknown_role` or `unknown_column` for a mapping that does not fit."""
    names = [role.role for role in roles]
    for role, column in declared.items():
        if role not in names:
            raise UserError(
                "unknown_role",
                "There is no role {role!r}.",
                "Roles are {roles}.",
                field=f"mapping.{role}",
                role=role,
                roles=", ".join(names),
            )
        if column not in columns:
            raise UserError(
                "unknown_column",
                "{file} has no column {column!r} for the {role}.",
                "Choose one of its columns: {columns}.",
                field=f"mapping.{role}",
                file=file,
                column=column,
                role=role,
                columns=", ".join(columns[:20]),
            )
    if len(set(declared.values())) < len(declared):
        raise UserError(
            "column_twice", "One column is mapped to two roles.", "Choose different columns.", field="mapping"
        )


def map_columns(profiles: Sequence[Profile], roles: Sequence[Column], declared: Mapping[str, str]) -> RoleMapping:
    """The mapping, as far as it is clear; `declared` roles are taken as they are."""
    mapped = dict(declared)
    open_roles = [role for role in roles if role.role not in mapped]

    def free() -> list[Profile]:
        return [profile for profile in profiles if profile.name not in mapped.values()]

    for role in open_roles:
        own = [profile.name for profile in free() if _plain(profile.name) == role.role]
        named = [profile.name for profile in free() if _plain(profile.name) in role.synonyms]
        if len(own) == 1:
            mapped[role.role] = own[0]
        elif not own and len(named) == 1:
            mapped[role.role] = named[0]
    suggestions: dict[str, list[str]] = {}
    for role in [role for role in open_roles if role.role not in mapped]:
        fitting = [profile for profile in free() if _fits(profile, role)]
        if len(fitting) == 1 and role.required:
            mapped[role.role] = fitting[0].name
    unlike = set()
    for role in [role for role in open_roles if role.role not in mapped and role.required]:
        if not any(_fits(profile, role) for profile in free()):
            unlike.add(role.role)
        ranked = sorted(free(), key=lambda profile: (not _fits(profile, role), -profile.filled))
        suggestions[role.role] = [profile.name for profile in ranked if profile.filled > 0]
    return RoleMapping(mapped, tuple(suggestions), suggestions, frozenset(unlike))


def _fits(profile: Profile, role: Column) -> bool:
    if role.kind == "text":
        return profile.looks_like_text
    if role.kind == "category":
        return profile.looks_like_category and not profile.looks_like_text
    return profile.filled >= 0.5
