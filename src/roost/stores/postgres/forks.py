"""Forks and checkpoints: part of the second migration.

A fork has rows only for its own events, those after the first `shared`. Its `lineage` row names the log that has the
last shared event, `upto`; earlier ones are found by that log's own lineage, and so on. A deleted session keeps what
forks need: rows, lineage, and its row in `garbage`, whose `head` is its last remaining event.

Functions of the first migration that are replaced here behave the same for their callers; they also handle forks.
"""

from __future__ import annotations

_TABLES = """
ALTER TABLE sessions ADD COLUMN shared bigint NOT NULL DEFAULT 0;
CREATE TABLE lineage (s bigint PRIMARY KEY, base bigint NOT NULL, upto bigint NOT NULL);
CREATE INDEX lineage_base ON lineage (base, upto);
CREATE TABLE checkpoints (
    s bigint NOT NULL,
    seq bigint NOT NULL,
    memory bigint,
    made_at float8 NOT NULL,
    version int NOT NULL,
    label text,
    cause text NOT NULL,
    files text,
    body bytea NOT NULL,
    PRIMARY KEY (s, seq)
);
ALTER TABLE checkpoints ALTER body SET STORAGE EXTERNAL;
"""

_READ = """
CREATE FUNCTION part_2(
    a_s bigint, a_after bigint, a_upto bigint, a_most bigint, a_bytes bigint,
    OUT bodies bytea[], OUT seqs bigint[], OUT size bigint
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    SELECT array_agg(p.body ORDER BY p.seq), array_agg(p.seq ORDER BY p.seq), sum(octet_length(p.body))
    INTO bodies, seqs, size FROM (
        SELECT e.seq, e.body, sum(octet_length(e.body)) OVER (ORDER BY e.seq) - octet_length(e.body) AS before
        FROM (
            SELECT seq, body FROM events WHERE s = a_s AND seq > a_after AND seq <= a_upto ORDER BY seq LIMIT a_most
        ) AS e
    ) AS p WHERE p.before < a_bytes;
END $$;
CREATE OR REPLACE FUNCTION read_1(
    a_session text, a_after bigint, a_most bigint, a_bytes bigint,
    OUT head bigint, OUT bodies bytea[], OUT seqs bigint[]
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    place bigint;
    common bigint;
    part record;
    more record;
BEGIN
    SELECT x.s, x.head, x.shared INTO place, head, common FROM sessions x WHERE x.id = a_session;
    IF NOT FOUND THEN
        RETURN;
    ELSIF a_after >= common THEN
        SELECT array_agg(p.body ORDER BY p.seq), array_agg(p.seq ORDER BY p.seq) INTO bodies, seqs FROM (
            SELECT e.seq, e.body, sum(octet_length(e.body)) OVER (ORDER BY e.seq) - octet_length(e.body) AS before
            FROM (SELECT seq, body FROM events WHERE s = place AND seq > a_after ORDER BY seq LIMIT a_most) AS e
        ) AS p WHERE p.before < a_bytes;
        RETURN;
    END IF;
    FOR part IN
        WITH RECURSIVE parts AS (
            SELECT place AS s, greatest(head, common + 1) AS upto
            UNION ALL SELECT l.base, l.upto FROM parts p JOIN lineage l ON l.s = p.s WHERE l.upto > a_after
        ) SELECT s AS base, upto FROM parts ORDER BY upto
    LOOP
        SELECT m.bodies, m.seqs, m.size INTO more FROM part_2(part.base, a_after, part.upto, a_most, a_bytes) m;
        EXIT WHEN more.seqs IS NULL;
        bodies := bodies || more.bodies;
        seqs := seqs || more.seqs;
        a_after := seqs[cardinality(seqs)];
        a_most := a_most - cardinality(more.seqs);
        a_bytes := a_bytes - more.size;
        EXIT WHEN a_after <> part.upto OR a_most <= 0 OR a_bytes <= 0;
    END LOOP;
END $$;
CREATE FUNCTION snapshot_2(
    a_session text, a_at bigint, OUT s bigint, OUT seq bigint, OUT version int, OUT body bytea
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    part record;
BEGIN
    SELECT x.s INTO s FROM sessions x WHERE x.id = a_session;
    FOR part IN
        WITH RECURSIVE parts AS (
            SELECT snapshot_2.s AS s, a_at AS upto, 0 AS place
            UNION ALL SELECT l.base, least(l.upto, a_at), p.place + 1 FROM parts p JOIN lineage l ON l.s = p.s
        ) SELECT s AS base, upto FROM parts ORDER BY place
    LOOP
        SELECT f.seq, f.version, f.body INTO seq, version, body FROM (
            (SELECT n.seq, n.version, n.body FROM snapshots n WHERE n.s = part.base AND n.seq <= part.upto)
            UNION ALL (
                SELECT c.seq, c.version, c.body FROM checkpoints c WHERE c.s = part.base AND c.seq <= part.upto
                ORDER BY c.seq DESC LIMIT 1)
        ) AS f ORDER BY f.seq DESC LIMIT 1;
        EXIT WHEN FOUND;
    END LOOP;
END $$;
"""

_FORK = """
CREATE FUNCTION fork_2(
    a_source text, a_at bigint, a_id text, a_key text, a_agent text, a_version text, a_workspace text, a_title text,
    a_parent text, a_labels jsonb, a_needs text[], a_bodies bytea[], n_seq bigint, n_version int, n_body bytea,
    a_state text, a_phase text,
    OUT s bigint, OUT same text, OUT head bigint, OUT format int, OUT at float8
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    x record;
BEGIN
    SELECT n.id INTO same FROM sessions n WHERE n.create_key = a_key;
    IF FOUND THEN
        RETURN;
    END IF;
    SELECT n.s, n.head, n.format INTO x FROM sessions n WHERE n.id = a_source FOR KEY SHARE;
    head := x.head;
    format := x.format;
    IF head IS NULL OR a_at NOT BETWEEN 1 AND head OR n_seq NOT BETWEEN a_at AND a_at + cardinality(a_bodies) THEN
        RETURN;
    END IF;
    at := clock_1();
    INSERT INTO sessions AS n (
        head, base, shared, created_at, updated_at, format, state, phase, id, create_key, agent, version, workspace,
        title, parent, labels, needs
    ) VALUES (
        a_at + cardinality(a_bodies), a_at, a_at, at, at, x.format, a_state, a_phase, a_id, a_key, a_agent, a_version,
        a_workspace, a_title, a_parent, a_labels, a_needs
    ) ON CONFLICT DO NOTHING RETURNING n.s INTO s;
    IF NOT FOUND THEN
        SELECT n.id INTO same FROM sessions n WHERE n.create_key = a_key;
        RETURN;
    END IF;
    INSERT INTO lineage
    WITH RECURSIVE logs AS (
        SELECT x.s AS s, 0 AS place
        UNION ALL SELECT l.base, g.place + 1 FROM logs g JOIN lineage l ON l.s = g.s WHERE l.upto >= a_at
    ) SELECT fork_2.s, logs.s, a_at FROM logs ORDER BY place DESC LIMIT 1;
    INSERT INTO events SELECT fork_2.s, a_at + e.seq, e.body FROM unnest(a_bodies) WITH ORDINALITY AS e (body, seq);
    INSERT INTO snapshots VALUES (fork_2.s, n_seq, n_version, n_body);
    PERFORM let_go_1(ARRAY[fork_2.s]);
END $$;
"""

_DELETE = """
CREATE OR REPLACE FUNCTION delete_1(a_session text, a_epoch bigint, OUT outcome text, OUT s bigint)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    x record;
BEGIN
    SELECT n.s, n.owner, n.epoch, n.head INTO x FROM sessions n WHERE n.id = a_session FOR UPDATE;
    IF NOT FOUND THEN
        outcome := 'not_found';
    ELSIF x.owner IS NOT NULL AND x.epoch IS DISTINCT FROM a_epoch AND NOT gone_1(x.owner) THEN
        outcome := 'busy';
    ELSE
        outcome := 'deleted';
        s := x.s;
        INSERT INTO garbage VALUES (x.s, x.head);
        DELETE FROM sessions n WHERE n.s = x.s;
        DELETE FROM inbox n WHERE n.s = x.s;
        DELETE FROM timers n WHERE n.s = x.s;
        DELETE FROM snapshots n WHERE n.s = x.s;
        DELETE FROM checkpoints n WHERE n.s = x.s;
        PERFORM clear_space_1('session:' || a_session);
    END IF;
END $$;
CREATE FUNCTION purge_2(a_s bigint, a_most bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    last bigint;
    needed bigint;
    following bigint;
BEGIN
    SELECT head INTO last FROM garbage WHERE s = a_s FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    SELECT coalesce(max(upto), 0) INTO needed FROM lineage WHERE base = a_s;
    IF last > needed THEN
        SELECT coalesce(max(seq), 0) INTO last FROM events WHERE s = a_s AND seq <= last;
        DELETE FROM events WHERE s = a_s AND seq > greatest(last - a_most, needed) AND seq <= last;
    END IF;
    IF last - a_most > needed THEN
        UPDATE garbage SET head = last - a_most WHERE s = a_s;
        RETURN a_s;
    ELSIF needed > 0 THEN
        UPDATE garbage SET head = needed WHERE s = a_s AND head <> needed;
        RETURN NULL;
    END IF;
    DELETE FROM garbage WHERE s = a_s;
    DELETE FROM lineage WHERE s = a_s RETURNING base INTO following;
    RETURN following;
END $$;
CREATE OR REPLACE FUNCTION purge_1(a_s bigint, a_most bigint) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    RETURN purge_2(a_s, a_most) IS DISTINCT FROM a_s;
END $$;
"""

FORKS = _TABLES + _READ + _FORK + _DELETE
