"""What the catalog says about a table: its columns, and everything that lets a write to it be felt elsewhere.

It is read when a table is met for the first time. Each plan then asks, behind its writes and before COMMIT, whether the
catalog still is the one that it was planned with (``still``). By then the writes hold locks that keep ALTER TABLE out,
so what was planned for a table and what the table is cannot differ in a plan that is committed.  # I3 I4
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from logsync.errors import ConfigError
from logsync.stores.postgres.shapes import Column, Relation, quote
from logsync.stores.postgres.statements import Statement

if TYPE_CHECKING:
    from psycopg import Cursor

    from logsync.stores.postgres.link import Link

# Edges: from a table to those whose rows change when its own do. Of kin are tables that share rows: a partition and its
# whole, a table and those that inherit from it. %s is the array of names, quoted; what does not exist has no row here.
_RELATIONS = """
WITH RECURSIVE wanted AS (
    SELECT name, pg_catalog.to_regclass(name)::oid AS rel FROM unnest(%s::text[]) AS w (name)
), family (one, other) AS (
    SELECT inhparent, inhrelid FROM pg_catalog.pg_inherits
    UNION ALL SELECT inhrelid, inhparent FROM pg_catalog.pg_inherits
), foreign_keys AS (
    SELECT confrelid, conrelid, confkey, confdeltype IN ('c', 'n', 'd') AS on_delete,
           confupdtype IN ('c', 'n', 'd') AS on_update
    FROM pg_catalog.pg_constraint WHERE contype = 'f'
), edges (one, other) AS (
    SELECT * FROM family UNION ALL SELECT confrelid, conrelid FROM foreign_keys WHERE on_delete OR on_update
), kin (start, rel) AS (
    SELECT rel, rel FROM wanted UNION SELECT k.start, f.other FROM kin AS k JOIN family AS f ON f.one = k.rel
), below (start, rel) AS (
    SELECT rel, rel FROM wanted
    UNION SELECT b.start, i.inhrelid FROM below AS b JOIN pg_catalog.pg_inherits AS i ON i.inhparent = b.rel
), touched (start, rel) AS (
    SELECT rel, rel FROM wanted UNION SELECT t.start, e.other FROM touched AS t JOIN edges AS e ON e.one = t.rel
), triggers AS (
    SELECT tgrelid, tgname::text, tgtype & 20 <> 0 AS on_put, tgtype & 8 <> 0 AS on_delete
    FROM pg_catalog.pg_trigger WHERE NOT tgisinternal AND tgenabled IN ('O', 'A') AND tgtype & 28 <> 0
), policies AS (
    SELECT polrelid, polpermissive, polcmd, pg_catalog.pg_get_expr(polqual, polrelid) = 'true' AS all_rows
    FROM pg_catalog.pg_policy
    WHERE EXISTS (SELECT FROM unnest(polroles) AS r (role) WHERE role = 0 OR pg_catalog.pg_has_role(role, 'USAGE'))
)
SELECT w.name, c.oid::bigint, c.relkind::text, c.relpersistence::text, format('%%I.%%I', n.nspname, c.relname),
       c.relhastriggers,
       ARRAY(SELECT rel::bigint FROM kin WHERE start = c.oid),
       ARRAY(SELECT rel::bigint FROM touched WHERE start = c.oid),
       ARRAY(SELECT tgname FROM triggers JOIN below ON rel = tgrelid WHERE start = c.oid AND on_put ORDER BY 1),
       ARRAY(SELECT tgname FROM triggers JOIN below ON rel = tgrelid WHERE start = c.oid AND on_delete ORDER BY 1),
       EXISTS (SELECT FROM triggers JOIN touched ON rel = tgrelid WHERE start = c.oid),
       EXISTS (SELECT FROM foreign_keys JOIN kin ON rel = confrelid WHERE start = c.oid AND on_delete),
       ARRAY(SELECT DISTINCT a.attname::text FROM foreign_keys JOIN kin ON rel = confrelid
             JOIN pg_catalog.pg_attribute AS a ON a.attrelid = confrelid AND a.attnum = ANY(confkey)
             WHERE start = c.oid AND on_update),
       ARRAY(SELECT a.attname::text FROM pg_catalog.pg_attribute AS a
             LEFT JOIN pg_catalog.pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
             WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
               AND (a.attidentity <> '' OR pg_catalog.pg_get_expr(d.adbin, d.adrelid) LIKE '%%nextval(%%' OR EXISTS (
                   SELECT FROM pg_catalog.pg_depend AS p JOIN pg_catalog.pg_proc AS f ON f.oid = p.refobjid
                   WHERE p.classid = 'pg_catalog.pg_attrdef'::regclass AND p.objid = d.oid
                     AND p.refclassid = 'pg_catalog.pg_proc'::regclass AND f.provolatile <> 'i'
                     AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS e WHERE e.deptype = 'e'
                                     AND e.classid = p.refclassid AND e.objid = f.oid)))),
       (SELECT o.relname::text FROM below JOIN pg_catalog.pg_class AS o ON o.oid = rel
        WHERE start = c.oid AND rel <> c.oid AND (o.relpersistence <> 'p' OR o.relkind = 'f') LIMIT 1),
       (SELECT r.rulename::text FROM pg_catalog.pg_rewrite AS r
        WHERE r.ev_class = c.oid AND r.ev_type <> '1' AND r.ev_enabled IN ('O', 'A') LIMIT 1),
       pg_catalog.row_security_active(c.oid) AND (
           EXISTS (SELECT FROM policies WHERE polrelid = c.oid AND NOT polpermissive)
           OR NOT EXISTS (SELECT FROM policies WHERE polrelid = c.oid AND polpermissive AND polcmd = '*' AND all_rows))
FROM wanted AS w
JOIN pg_catalog.pg_class AS c ON c.oid = w.rel
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
"""
# A domain counts as the type below it, however many domains are between.
_COLUMNS = """
WITH RECURSIVE bases (oid, base, typmod) AS (
    SELECT oid, oid, -1 FROM pg_catalog.pg_type WHERE typtype <> 'd'
    UNION ALL
    SELECT d.oid, b.base, greatest(d.typtypmod, b.typmod)
    FROM pg_catalog.pg_type AS d JOIN bases AS b ON b.oid = d.typbasetype WHERE d.typtype = 'd'
)
SELECT a.attrelid::bigint, a.attname::text, pg_catalog.format_type(a.atttypid, -1), b.typname::text,
       b.typcategory = 'A', CASE WHEN a.atttypmod < 0 THEN t.typmod ELSE a.atttypmod END,
       coalesce(c.collisdeterministic, true),
       coalesce(pg_catalog.pg_get_expr(d.adbin, d.adrelid), y.typdefault),
       coalesce(e.typname::text, ''), b.typtype = 'c' OR b.typdelim <> ','
FROM pg_catalog.pg_attribute AS a
JOIN pg_catalog.pg_type AS y ON y.oid = a.atttypid
JOIN bases AS t ON t.oid = a.atttypid
JOIN pg_catalog.pg_type AS b ON b.oid = t.base
LEFT JOIN bases AS s ON s.oid = b.typelem AND b.typcategory = 'A'
LEFT JOIN pg_catalog.pg_type AS e ON e.oid = s.base
LEFT JOIN pg_catalog.pg_collation AS c ON c.oid = a.attcollation
LEFT JOIN pg_catalog.pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = ANY(%s::bigint[]) AND a.attnum > 0 AND NOT a.attisdropped
"""
# Everything that ALTER TABLE, CREATE TRIGGER, a new foreign key and their like can change. A row of the catalog that is
# changed gets a new xmin; what VACUUM and ANALYZE count there is written in place. Asked with each plan: no more is
# looked into than these tables need, and nothing is made of the answer on the server.
_CLASSES = "SELECT xmin FROM pg_catalog.pg_class WHERE oid = ANY(%s::oid[])"
_ATTRIBUTES = " UNION ALL SELECT xmin FROM pg_catalog.pg_attribute WHERE attrelid = ANY(%s::oid[]) AND attnum > 0"
_TRIGGERS = " UNION ALL SELECT xmin FROM pg_catalog.pg_trigger WHERE tgrelid = ANY(%s::oid[])"  # foreign keys, too
_PARTS = " UNION ALL SELECT xmin FROM pg_catalog.pg_inherits WHERE inhparent = ANY(%s::oid[])"
_OWN = tuple(f"logsync.{name}" for name in ("book", "parked", "position"))
_TABLES = "rp"
_KINDS = {"v": "a view", "m": "a materialized view", "f": "a foreign table", "S": "a sequence", "c": "a composite type"}


class Catalog:
    """The tables of one sink as they were last looked at."""

    def __init__(self, declared: Collection[str]) -> None:
        self._declared = tuple(declared)
        self._asked: dict[str, bool] = {}
        """What was asked for. True: it is written to, or declared. False: a Sql touches it, and it may be anything."""
        self.relations: dict[str, Relation] = {}
        """By the name that a write uses."""
        self._sign: list[object] = []
        self._still: Statement | None = None
        self._before: dict[str, int] = {}

    def forget(self, *, entirely: bool = False) -> None:
        """Look again before the next plan. ``entirely``: it is another connection, perhaps to a restored database."""
        self._still = None
        if entirely:
            self._before, self._asked, self.relations = {}, {}, {}

    def knows(self, written: Collection[str], touched: Collection[str]) -> bool:
        asked = self._asked
        return self._still is not None and all(map(asked.get, written)) and all(name in asked for name in touched)

    def read(self, link: Link, written: Collection[str], touched: Collection[str]) -> None:
        """Look at these, and again at all that were known. Raises ConfigError for what no sink may write to."""
        self._asked |= dict.fromkeys([name for name in touched if name not in self._asked], False)
        self._asked |= dict.fromkeys([*self._declared, *written], True)
        found, sign, still = self._look(link)
        while True:  # until nothing changes between two looks: the sign must be that of what was read
            again, sign, still = self._look(link)
            if again == found:
                break
            found = again
        for name, relation in found.items():
            if self._before.setdefault(name, relation.oid) != relation.oid:
                raise ConfigError(
                    f"table {name} is not the one that this worker has written to: it was dropped and made again, or "
                    "renamed. The position claims rows that stand elsewhere, or nowhere",
                    fix="`logsync rebuild SINK`; or, if the rows were moved along, start the worker again",
                )
        self.relations, self._sign, self._still = found, sign, still

    def still(self) -> list[Statement]:
        """What to ask behind the writes of a plan: see :meth:`is_still`."""
        return [self._still] if self._still else []

    def locked(self) -> list[Statement]:
        """The same, before the writes: the tables are locked as writing locks them, so that the answer stays true."""
        tables = ", ".join(relation.name.replace("%", "%%") for _, relation in sorted(self.relations.items()))
        lock = [Statement(f"LOCK TABLE {tables} IN ROW EXCLUSIVE MODE", ())] if tables else []
        return [*lock, *self.still()]

    def is_still(self, answer: Cursor[tuple[Any, ...]]) -> bool:
        """True if the answer says that nothing has changed since :meth:`read`."""
        return _sign(answer) == self._sign

    def _look(self, link: Link) -> tuple[dict[str, Relation], list[object], Statement]:
        names = {quote(name): name for name in [*_OWN, *self._asked] if _possible(name)}
        rows = link.ask(_RELATIONS, list(names)).fetchall()
        for row in rows:
            if self._asked.get(names[row[0]], True):
                _check(names[row[0]], *row[2:4], *row[14:])
        rows = [row for row in rows if row[2] in _TABLES]
        columns: dict[int, dict[str, Column]] = {}
        for oid, column, *rest in link.ask(_COLUMNS, [row[1] for row in rows]).fetchall():
            columns.setdefault(oid, {})[column] = Column(*rest)
        found = {names[row[0]]: _relation(columns.get(row[1], {}), row) for row in rows}
        sinks = {name: relation for name, relation in found.items() if name in self._asked}
        still = _still([*found.values()], [*sinks.values()])
        return sinks, _sign(link.send([still])[0]), still


def _sign(answer: Cursor[tuple[Any, ...]]) -> list[object]:
    return sorted(version for (version,) in answer.fetchall())


def _possible(name: object) -> bool:
    """``orders`` or ``shop.orders``: of anything else the server says that it is no name, or another database's."""
    return isinstance(name, str) and all(name.split(".")) and name.count(".") < 2 and "\0" not in name


def _relation(columns: Mapping[str, Column], row: tuple[Any, ...]) -> Relation:
    _, oid, _, _, name, has_triggers, kin, touched, puts, deletes, far, on_delete, on_update, drawn, *_ = row
    return Relation(
        name,
        columns,
        oid,
        has_triggers,
        frozenset(kin),
        frozenset(touched),
        tuple(puts),
        tuple(deletes),
        far,
        on_delete,
        frozenset(on_update),
        frozenset(drawn),
    )


def _still(every: Sequence[Relation], sinks: Sequence[Relation]) -> Statement:
    def array(relations: Sequence[Relation]) -> str:
        return "{" + ",".join(map(str, sorted({oid for relation in relations for oid in relation.touched}))) + "}"

    related = any(len(relation.touched) > 1 for relation in sinks)
    triggers = _TRIGGERS if related or any(relation.has_triggers for relation in sinks) else ""
    parts = _PARTS if any(len(relation.kin) > 1 for relation in sinks) else ""
    sql = _CLASSES + _ATTRIBUTES + triggers + parts
    return Statement(sql, [array(every), *[array(sinks)] * (sql.count("%s") - 1)])


def _check(name: str, kind: str, persistence: str, part: str | None, rule: str | None, hidden: bool) -> None:
    """Raise ConfigError if the table cannot keep what a position claims, or shows this role only some of its rows."""
    if kind not in _TABLES:
        raise ConfigError(
            f"expected {name} to be a table, found {_KINDS.get(kind, 'something else')}: rows and position would not "
            "be kept together",
            fix="write to the table behind it; a Sql may do what it likes",
        )
    if persistence == "u":
        raise ConfigError(
            f"table {name} is UNLOGGED: a crash empties it, and the position stays",
            fix=f"`psql \"$LOGSYNC_POSTGRES\" -c 'ALTER TABLE {quote(name)} SET LOGGED'`, then, if the server has "
            "crashed since, `logsync rebuild SINK`",
        )
    if persistence != "p":
        raise ConfigError(
            f"table {name} is temporary: it ends with the connection, and the position stays", fix="make it a table"
        )
    if part is not None:
        raise ConfigError(
            f"table {name} keeps rows in {part}, which is UNLOGGED or a foreign table: the position would outlive them",
            fix=f"`ALTER TABLE {part} SET LOGGED`, or detach it",
        )
    if rule is not None:
        raise ConfigError(
            f"table {name} has the rule {rule}: a rule rewrites the store's statements", fix="use a trigger instead"
        )
    if hidden:
        raise ConfigError(
            f"row-level security hides rows of table {name} from this role: what it cannot see it would neither change "
            "nor delete, without an error",
            fix="`ALTER ROLE ... BYPASSRLS`, or a policy FOR ALL to this role USING (true)",
        )
