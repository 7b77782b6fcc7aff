"""The first migration: the functions, each one round trip of the journal.

A released function never changes, so that two versions of Roost can share a database: a change is a new function with
the next number in its name, unless existing callers cannot notice it. They are PL/pgSQL, not single statements, because
each statement inside sees the newest commits: values read after locking a row are current.
"""

from __future__ import annotations

from roost.log.dispatch import HEAD_START

_BACK_SECONDS = 0.1
"""A node whose connection was cut has this long to reconnect before it counts as dead. It needs about 20 ms."""

_HELPERS = """
CREATE FUNCTION clock_1() RETURNS float8 LANGUAGE sql VOLATILE AS $$
    SELECT extract(epoch FROM clock_timestamp())::float8
$$;
CREATE FUNCTION admits_1(state text, phase text) RETURNS int LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN state NOT IN ('created', 'running') THEN 2 WHEN phase = 'waiting' THEN 1 ELSE 0 END
$$;
CREATE FUNCTION key_1(node text) RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT hashtextextended(current_schema() || ':' || node, 5)
$$;
CREATE FUNCTION let_go_1(a_s bigint[]) RETURNS bigint[] LANGUAGE plpgsql AS $$
DECLARE
    waiting bigint[];
BEGIN
    WITH free AS (
        UPDATE sessions x SET
            owner = NULL,
            ready_at = clock_1(),
            ready = x.state = 'running' AND x.phase = 'working' OR x.pending > 0 AND EXISTS (
                SELECT FROM inbox i WHERE i.s = x.s AND NOT i.taken AND i.urgency >= admits_1(x.state, x.phase))
        WHERE x.s = ANY (a_s) RETURNING x.s, x.ready
    ) SELECT array_agg(s) INTO waiting FROM free WHERE ready;
    RETURN waiting;
END $$;
"""

_APPEND = """
CREATE FUNCTION append_1(
    a_s bigint[], a_epoch bigint[], a_expected bigint[], a_count int[], a_taken int[], a_state text[], a_phase text[],
    e_s bigint[], e_seq bigint[], e_body bytea[], c_s bigint[], c_id bigint[], r_s bigint[],
    OUT refused bigint[], OUT waiting bigint[]
) LANGUAGE plpgsql AS $$
DECLARE
    wrong bigint[];
    moved bigint[];
BEGIN
    IF c_s <> '{}' THEN
        PERFORM FROM sessions WHERE s = ANY (a_s) ORDER BY s FOR NO KEY UPDATE;
        SELECT array_agg(c.s) INTO wrong FROM unnest(c_s, c_id) AS c (s, id)
        WHERE NOT EXISTS (SELECT FROM inbox i WHERE i.s = c.s AND i.id = c.id AND NOT i.taken);
    END IF;
    WITH changed AS (
        UPDATE sessions x SET
            head = x.head + w.count,
            updated_at = extract(epoch FROM now()),
            pending = x.pending - w.taken,
            state = coalesce(w.state, x.state),
            phase = coalesce(w.phase, x.phase)
        FROM unnest(a_s, a_epoch, a_expected, a_count, a_taken, a_state, a_phase)
            AS w (s, epoch, expected, count, taken, state, phase)
        WHERE x.s = w.s AND x.epoch = w.epoch AND x.head = w.expected AND x.owner IS NOT NULL
            AND (wrong IS NULL OR w.s <> ALL (wrong))
        RETURNING x.s
    ) SELECT array_agg(s) INTO moved FROM changed;
    IF moved IS NULL THEN
        refused := a_s;
        RETURN;
    ELSIF cardinality(moved) = cardinality(a_s) THEN
        INSERT INTO events SELECT * FROM unnest(e_s, e_seq, e_body);
    ELSE
        INSERT INTO events SELECT * FROM unnest(e_s, e_seq, e_body) AS e (s, seq, body) WHERE e.s = ANY (moved);
    END IF;
    IF c_s <> '{}' THEN
        DELETE FROM inbox i USING unnest(c_s, c_id) AS c (s, id)
        WHERE i.s = c.s AND i.id = c.id AND NOT i.taken AND i.key IS NULL AND c.s = ANY (moved);
        UPDATE inbox i SET taken = true, body = '' FROM unnest(c_s, c_id) AS c (s, id)
        WHERE i.s = c.s AND i.id = c.id AND NOT i.taken AND c.s = ANY (moved);
    END IF;
    IF r_s <> '{}' THEN
        waiting := let_go_1(ARRAY(SELECT s FROM unnest(r_s) AS r (s) WHERE s = ANY (moved)));
    END IF;
    refused := ARRAY(
        SELECT s FROM unnest(a_s) AS w (s) WHERE cardinality(moved) < cardinality(a_s) AND s <> ALL (moved));
END $$;
CREATE FUNCTION append_more_1(
    a_s bigint[], a_epoch bigint[], a_expected bigint[], a_count int[], a_taken int[], a_state text[], a_phase text[],
    e_s bigint[], e_seq bigint[], e_body bytea[], c_s bigint[], c_id bigint[], r_s bigint[],
    n_s bigint[], n_seq bigint[], n_version int[], n_body bytea[],
    t_s bigint[], t_id text[], t_due float8[], t_body bytea[], x_s bigint[], x_id text[],
    OUT refused bigint[], OUT waiting bigint[]
) LANGUAGE plpgsql AS $$
BEGIN
    SELECT a.refused, a.waiting INTO refused, waiting FROM append_1(
        a_s, a_epoch, a_expected, a_count, a_taken, a_state, a_phase, e_s, e_seq, e_body, c_s, c_id, r_s) AS a;
    INSERT INTO snapshots AS old
    SELECT n.* FROM unnest(n_s, n_seq, n_version, n_body) AS n (s, seq, version, body) WHERE n.s <> ALL (refused)
    ON CONFLICT (s) DO UPDATE SET seq = excluded.seq, version = excluded.version, body = excluded.body;
    INSERT INTO timers AS old
    SELECT t.* FROM unnest(t_s, t_id, t_due, t_body) AS t (s, id, due, body) WHERE t.s <> ALL (refused)
    ON CONFLICT (s, id) DO UPDATE SET due = excluded.due, body = excluded.body;
    DELETE FROM timers t USING unnest(x_s, x_id) AS x (s, id) WHERE t.s = x.s AND t.id = x.id AND x.s <> ALL (refused);
END $$;
"""

_INPUTS = """
CREATE FUNCTION create_1(
    a_id text, a_key text, a_agent text, a_version text, a_workspace text, a_title text, a_parent text, a_labels jsonb,
    a_needs text[], a_bodies bytea[], OUT s bigint, OUT same text, OUT at float8
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    SELECT x.id INTO same FROM sessions x WHERE x.create_key = a_key;
    IF FOUND THEN
        RETURN;
    END IF;
    at := clock_1();
    INSERT INTO sessions AS x (
        head, created_at, updated_at, id, create_key, agent, version, workspace, title, parent, labels, needs
    ) VALUES (
        cardinality(a_bodies), at, at, a_id, a_key, a_agent, a_version, a_workspace, a_title, a_parent, a_labels,
        a_needs
    ) ON CONFLICT DO NOTHING RETURNING x.s INTO s;
    IF FOUND THEN
        INSERT INTO events SELECT create_1.s, e.seq, e.body FROM unnest(a_bodies) WITH ORDINALITY AS e (body, seq);
    ELSE
        SELECT x.id INTO same FROM sessions x WHERE x.create_key = a_key;
    END IF;
END $$;
CREATE FUNCTION put_1(
    a_s bigint, a_key text, a_digest bytea, a_urgency int, a_body bytea, OUT id bigint, OUT at float8
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    at := clock_1();
    UPDATE sessions x SET
        inputs = x.inputs + 1,
        pending = x.pending + 1,
        updated_at = at,
        ready_at = CASE WHEN x.ready OR x.owner IS NOT NULL THEN x.ready_at ELSE at END,
        ready = x.ready OR x.owner IS NULL AND a_urgency >= admits_1(x.state, x.phase)
    WHERE x.s = a_s RETURNING x.inputs INTO id;
    INSERT INTO inbox (s, id, key, digest, urgency, accepted_at, body)
    VALUES (a_s, put_1.id, a_key, a_digest, a_urgency, at, a_body);
END $$;
CREATE FUNCTION accept_1(
    a_session text, a_key text, a_digest bytea, a_urgency int, a_body bytea, a_limit int,
    OUT outcome text, OUT id bigint, OUT at float8, OUT owner text
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    x record;
    seen record;
BEGIN
    SELECT n.s, n.state, n.phase, n.pending, n.owner INTO x FROM sessions n WHERE n.id = a_session FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        outcome := 'not_found';
        RETURN;
    END IF;
    owner := x.owner;
    IF a_key IS NOT NULL THEN
        SELECT i.id, i.digest INTO seen FROM inbox i WHERE i.s = x.s AND i.key = a_key;
        IF FOUND THEN
            id := seen.id;
            outcome := CASE WHEN seen.digest IS DISTINCT FROM a_digest THEN 'mismatch' ELSE 'duplicate' END;
            RETURN;
        END IF;
    END IF;
    IF a_urgency = 0 AND x.state IN ('stopped', 'error') THEN
        outcome := x.state;
    ELSIF a_urgency = 0 AND x.pending >= a_limit THEN
        outcome := 'busy';
    ELSE
        SELECT p.id, p.at INTO id, at FROM put_1(x.s, a_key, a_digest, a_urgency, a_body) p;
        outcome := 'accepted';
    END IF;
END $$;
CREATE FUNCTION delete_1(a_session text, a_epoch bigint, OUT outcome text, OUT s bigint) LANGUAGE plpgsql AS $$
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
    END IF;
END $$;
CREATE FUNCTION purge_1(a_s bigint, a_most bigint) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    last bigint;
BEGIN
    SELECT head INTO last FROM garbage WHERE s = a_s FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN true;
    END IF;
    DELETE FROM events WHERE s = a_s AND seq > last - a_most AND seq <= last;
    IF last <= a_most THEN
        DELETE FROM garbage WHERE s = a_s;
    ELSE
        UPDATE garbage SET head = head - a_most WHERE s = a_s;
    END IF;
    RETURN last <= a_most;
END $$;
"""

# Identifies the server instance that holds the locks. It changes after a restart or a failover, and also after a crash
# of one server process: then all connections are cut, the start time stays, and the statistics restart (used from
# version 15 on, where reading them costs nothing).
_LIVENESS = f"""
CREATE FUNCTION boot_1() RETURNS timestamptz[] LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN ARRAY[pg_postmaster_start_time(), CASE
        WHEN current_setting('server_version_num')::int >= 150000 THEN pg_stat_get_bgwriter_stat_reset_time() END];
END $$;
CREATE FUNCTION dead_1(node text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    n record;
BEGIN
    SELECT alive_until, boot INTO n FROM nodes WHERE id = node;
    IF NOT FOUND OR n.alive_until < clock_1() THEN
        RETURN true;
    ELSIF n.boot IS DISTINCT FROM boot_1() THEN
        RETURN false;
    END IF;
    IF pg_try_advisory_lock_shared(key_1(node)) THEN
        PERFORM pg_advisory_unlock_shared(key_1(node));
        RETURN true;
    END IF;
    RETURN false;
END $$;
CREATE FUNCTION gone_1(node text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    IF dead_1(node) THEN
        PERFORM pg_sleep({_BACK_SECONDS}) FROM nodes WHERE id = node AND alive_until >= clock_1();
        RETURN dead_1(node);
    END IF;
    RETURN false;
END $$;
CREATE FUNCTION leave_1(node text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM nodes WHERE id = node;
    PERFORM let_go_1(ARRAY(SELECT s FROM sessions WHERE owner = node ORDER BY s FOR NO KEY UPDATE));
    UPDATE holds h SET node = NULL WHERE h.node = leave_1.node;
END $$;
CREATE FUNCTION bury_1(me text[], around int) RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
    one text;
    moment float8 := clock_1();
    cut text[] := ARRAY(
        SELECT ring.id FROM (
            (SELECT n.id, 0 AS turn FROM nodes n WHERE n.id > me[1] ORDER BY n.id LIMIT around)
            UNION ALL (SELECT n.id, 1 FROM nodes n WHERE n.id < me[1] ORDER BY n.id LIMIT around)
            ORDER BY turn, id LIMIT around
        ) AS ring WHERE ring.id <> ALL (me) AND dead_1(ring.id));
    buried text[] := '{{}}';
BEGIN
    IF cut <> '{{}}' THEN
        PERFORM pg_sleep({_BACK_SECONDS});
    END IF;
    FOR one IN
        SELECT n.id FROM nodes n WHERE n.id <> ALL (me) AND n.alive_until < moment
        UNION SELECT unnest(cut)
    LOOP
        PERFORM FROM nodes WHERE id = one FOR UPDATE SKIP LOCKED;
        IF FOUND AND dead_1(one) THEN
            PERFORM leave_1(one);
            buried := buried || one;
        END IF;
    END LOOP;
    RETURN buried;
END $$;
CREATE FUNCTION beat_1(
    a_id text, a_ttl float8, a_home text, a_offers text[], a_room bigint, a_draining boolean, a_format int,
    a_card bytea, a_locked boolean
) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    IF NOT a_locked THEN
        a_locked := pg_try_advisory_lock(key_1(a_id));
    END IF;
    INSERT INTO nodes VALUES (
        a_id, clock_1() + a_ttl, clock_1(), CASE WHEN a_locked THEN boot_1() END, a_home, a_offers, a_room, a_draining,
        a_format, a_card
    ) ON CONFLICT (id) DO UPDATE SET
        alive_until = excluded.alive_until, beat_at = excluded.beat_at, boot = excluded.boot, home = excluded.home,
        offers = excluded.offers, room = excluded.room, draining = excluded.draining, format = excluded.format,
        card = excluded.card;
    RETURN a_locked;
END $$;
CREATE FUNCTION tick_1(
    me text[], missing text[], around int, OUT buried text[], OUT held text[], OUT others boolean
) LANGUAGE plpgsql AS $$
BEGIN
    held := ARRAY(SELECT n FROM unnest(missing) AS m (n) WHERE pg_try_advisory_lock(key_1(n)));
    IF held <> '{{}}' THEN
        UPDATE nodes SET boot = boot_1() WHERE id = ANY (held);
    END IF;
    buried := CASE WHEN me = '{{}}' THEN '{{}}' ELSE bury_1(me, around) END;
    others := NOT pg_try_advisory_lock(key_1(''));
    IF NOT others THEN
        PERFORM pg_advisory_unlock(key_1(''));
    END IF;
END $$;
"""

# In these functions the session's number is a variable, never a column of a join. The planner then excludes all other
# partitions before execution, and 100 of them cost as much as one.
_LOG = """
CREATE FUNCTION tail_1(a_s bigint, a_after bigint) RETURNS bytea[] LANGUAGE plpgsql AS $$
BEGIN
    RETURN ARRAY(SELECT body FROM events WHERE s = a_s AND seq > a_after ORDER BY seq);
END $$;
CREATE FUNCTION read_1(
    a_session text, a_after bigint, a_most bigint, a_bytes bigint,
    OUT head bigint, OUT bodies bytea[], OUT seqs bigint[]
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    place bigint;
BEGIN
    SELECT x.s, x.head INTO place, head FROM sessions x WHERE x.id = a_session;
    IF FOUND THEN
        SELECT array_agg(p.body ORDER BY p.seq), array_agg(p.seq ORDER BY p.seq) INTO bodies, seqs FROM (
            SELECT e.seq, e.body, sum(octet_length(e.body)) OVER (ORDER BY e.seq) - octet_length(e.body) AS before
            FROM (SELECT seq, body FROM events WHERE s = place AND seq > a_after ORDER BY seq LIMIT a_most) AS e
        ) AS p WHERE p.before < a_bytes;
    END IF;
END $$;
"""

_CLAIM = f"""
CREATE FUNCTION suitable_1(me text, most int) RETURNS bigint[] LANGUAGE plpgsql AS $$
DECLARE
    card record;
    kind record;
    got bigint[] := '{{}}';
BEGIN
    SELECT * INTO card FROM nodes WHERE id = me AND beat_at IS NOT NULL FOR KEY SHARE;
    IF NOT FOUND OR card.draining THEN
        RETURN got;
    END IF;
    FOR kind IN
        WITH RECURSIVE kinds AS (
            (SELECT needs, ready_at FROM sessions WHERE ready AND owner IS NULL ORDER BY needs, ready_at LIMIT 1)
            UNION ALL
            SELECT n.* FROM kinds k, LATERAL (
                SELECT needs, ready_at FROM sessions WHERE ready AND owner IS NULL AND needs > k.needs
                ORDER BY needs, ready_at LIMIT 1) AS n
        ) SELECT needs FROM kinds WHERE needs <@ card.offers ORDER BY ready_at
    LOOP
        got := got || ARRAY(
            SELECT x.s FROM sessions x
            WHERE x.ready AND x.owner IS NULL AND x.needs = kind.needs AND x.format <= card.format AND (
                x.home IS NULL OR x.home = card.home OR x.ready_at < clock_1() - {HEAD_START} OR NOT EXISTS (
                    SELECT FROM nodes n
                    WHERE n.home = x.home AND n.room > 0 AND NOT n.draining AND n.alive_until > clock_1()))
            ORDER BY x.ready_at LIMIT most - cardinality(got) FOR NO KEY UPDATE SKIP LOCKED);
        EXIT WHEN cardinality(got) >= most;
    END LOOP;
    RETURN got;
END $$;
CREATE FUNCTION claim_1(a_node text, a_session text, a_most int, a_token bigint) RETURNS TABLE (
    s bigint, id text, agent text, version text, state text, phase text, head bigint, created_at float8,
    updated_at float8, workspace text, title text, parent text, labels jsonb, owner text, epoch bigint, pending int,
    needs text[], home text, format int, n_seq bigint, n_version int, n_body bytea, tail bytea[], i_id bigint[],
    i_at float8[], i_body bytea[], buried text[]
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    x record;
    card record;
    got bigint[];
    dead text[] := '{{}}';
    missing boolean := false;
BEGIN
    IF a_session IS NULL THEN
        dead := bury_1(ARRAY[a_node], 0);
        got := suitable_1(a_node, a_most);
    ELSE
        SELECT n.s, n.owner INTO x FROM sessions n WHERE n.id = a_session FOR NO KEY UPDATE;
        missing := NOT FOUND;
        IF NOT missing AND (x.owner IS NULL OR x.owner = a_node OR gone_1(x.owner)) THEN
            got := ARRAY[x.s];
        END IF;
    END IF;
    IF got IS NULL OR got = '{{}}' THEN
        IF missing OR dead <> '{{}}' THEN
            RETURN QUERY SELECT (null::sessions).s, a_session, null, null, null, null, null::bigint, null::float8,
                null::float8, null, null, null, null::jsonb, null, null::bigint, null::int, null::text[], null,
                null::int, null::bigint, null::int, null::bytea, null::bytea[], null::bigint[], null::float8[],
                null::bytea[], dead;
        END IF;
        RETURN;
    END IF;
    SELECT n.home, n.format INTO card FROM nodes n WHERE n.id = a_node FOR KEY SHARE;
    IF NOT FOUND THEN
        INSERT INTO nodes (id, alive_until) VALUES (a_node, 0) ON CONFLICT DO NOTHING;
        SELECT n.home, n.format INTO card FROM nodes n WHERE n.id = a_node FOR KEY SHARE;
    END IF;
    UPDATE sessions x SET
        owner = a_node, epoch = x.epoch + 1, base = x.head, token = a_token, ready = false,
        home = coalesce(nullif(card.home, ''), x.home), format = greatest(x.format, card.format)
    WHERE x.s = ANY (got);
    RETURN QUERY
    SELECT x.s, x.id, x.agent, x.version, x.state, x.phase, x.head, x.created_at, x.updated_at, x.workspace, x.title,
        x.parent, x.labels, x.owner, x.epoch, x.pending, x.needs, x.home, x.format, n.seq, n.version, n.body,
        tail_1(x.s, coalesce(n.seq, 0)),
        ARRAY(SELECT i.id FROM inbox i WHERE i.s = x.s AND NOT i.taken ORDER BY i.id),
        ARRAY(SELECT i.accepted_at FROM inbox i WHERE i.s = x.s AND NOT i.taken ORDER BY i.id),
        ARRAY(SELECT i.body FROM inbox i WHERE i.s = x.s AND NOT i.taken ORDER BY i.id),
        dead
    FROM sessions x LEFT JOIN snapshots n ON n.s = x.s WHERE x.s = ANY (got) ORDER BY x.ready_at, x.s;
END $$;
CREATE FUNCTION fire_1(
    a_s bigint[], a_id text[], a_due float8[], a_urgency int[]
) RETURNS TABLE (session text, id bigint, at float8, owner text, timer text, s bigint) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    t record;
    body bytea;
BEGIN
    FOR t IN
        SELECT x.s, x.id, x.owner, d.timer, d.due, d.urgency
        FROM unnest(a_s, a_id, a_due, a_urgency) AS d (s, timer, due, urgency) JOIN sessions x ON x.s = d.s
        ORDER BY x.s FOR NO KEY UPDATE OF x
    LOOP
        DELETE FROM timers x WHERE x.s = t.s AND x.id = t.timer AND x.due = t.due RETURNING x.body INTO body;
        IF FOUND THEN
            SELECT p.id, p.at INTO id, at FROM put_1(t.s, NULL, NULL, t.urgency, body) p;
            session := t.id;
            owner := t.owner;
            timer := t.timer;
            s := t.s;
            RETURN NEXT;
        END IF;
    END LOOP;
END $$;
"""

_SHARED = """
CREATE FUNCTION setting_1(a_name text, a_value text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    found_value text;
BEGIN
    SELECT value INTO found_value FROM settings WHERE name = a_name;
    IF found_value IS NULL AND a_value IS NOT NULL THEN
        INSERT INTO settings VALUES (a_name, a_value) ON CONFLICT DO NOTHING;
        SELECT value INTO found_value FROM settings WHERE name = a_name;
    END IF;
    RETURN found_value;
END $$;
CREATE FUNCTION hold_1(a_name text, a_node text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    h record;
BEGIN
    INSERT INTO holds VALUES (a_name, NULL, 0) ON CONFLICT DO NOTHING;
    SELECT node, fence INTO h FROM holds WHERE name = a_name FOR UPDATE;
    IF h.node = a_node THEN
        RETURN h.fence;
    ELSIF h.node IS NOT NULL AND NOT gone_1(h.node) THEN
        RETURN NULL;
    END IF;
    UPDATE holds SET node = a_node, fence = fence + 1 WHERE name = a_name;
    RETURN h.fence + 1;
END $$;
CREATE FUNCTION lock_budgets_1(a_budget text[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    wanted int := (SELECT count(DISTINCT b) FROM unnest(a_budget) AS c (b));
    locked int;
BEGIN
    LOOP
        INSERT INTO budgets (name) SELECT DISTINCT b FROM unnest(a_budget) AS c (b) ORDER BY b ON CONFLICT DO NOTHING;
        PERFORM FROM budgets WHERE name = ANY (a_budget) ORDER BY name FOR UPDATE;
        GET DIAGNOSTICS locked = ROW_COUNT;
        EXIT WHEN locked = wanted;  -- one may have been forgotten in between
    END LOOP;
END $$;
CREATE FUNCTION forget_1(a_first text, a_past text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM budgets WHERE name >= a_first AND (a_past IS NULL OR name < a_past) ORDER BY name FOR UPDATE;
    DELETE FROM budgets WHERE name >= a_first AND (a_past IS NULL OR name < a_past) AND reserved = 0;
END $$;
CREATE FUNCTION reserve_1(
    a_id text, a_budget text[], a_amount numeric[], a_limit numeric[]
) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    refused text;
BEGIN
    IF a_budget = '{}' OR EXISTS (SELECT FROM reservations WHERE id = a_id) THEN
        RETURN NULL;
    END IF;
    PERFORM lock_budgets_1(a_budget);
    IF EXISTS (SELECT FROM reservations WHERE id = a_id) THEN
        RETURN NULL;
    END IF;
    SELECT c.budget INTO refused FROM (
        SELECT w.*, sum(w.amount) OVER (PARTITION BY w.budget ORDER BY w.place) AS wanted
        FROM unnest(a_budget, a_amount, a_limit) WITH ORDINALITY AS w (budget, amount, most, place)
    ) AS c JOIN budgets b ON b.name = c.budget
    WHERE b.spent + b.reserved + c.wanted > c.most ORDER BY c.place LIMIT 1;
    IF FOUND THEN
        RETURN refused;
    END IF;
    INSERT INTO reservations SELECT a_id, c.b, sum(c.a) FROM unnest(a_budget, a_amount) AS c (b, a) GROUP BY c.b;
    UPDATE budgets b SET reserved = b.reserved + r.amount FROM reservations r WHERE r.id = a_id AND b.name = r.budget;
    RETURN NULL;
END $$;
CREATE FUNCTION settle_1(a_id text, a_budget text[], a_amount numeric[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM reservations WHERE id = a_id) THEN
        RETURN;
    END IF;
    PERFORM lock_budgets_1(a_budget || ARRAY(SELECT budget FROM reservations WHERE id = a_id));
    IF NOT EXISTS (SELECT FROM reservations WHERE id = a_id) THEN
        RETURN;
    END IF;
    UPDATE budgets b SET spent = b.spent + c.amount
    FROM unnest(a_budget, a_amount) AS c (budget, amount) WHERE b.name = c.budget;
    UPDATE budgets b SET reserved = b.reserved - r.amount FROM reservations r WHERE r.id = a_id AND b.name = r.budget;
    DELETE FROM reservations WHERE id = a_id;
END $$;
CREATE FUNCTION take_1(a_name text, a_amount float8, a_rate float8, a_burst float8) RETURNS float8
LANGUAGE plpgsql AS $$
DECLARE
    moment float8;
    old record;
    has float8;
    enough boolean;
BEGIN
    INSERT INTO buckets VALUES (a_name, a_burst, clock_1()) ON CONFLICT DO NOTHING;
    SELECT level, at INTO old FROM buckets WHERE name = a_name FOR UPDATE;
    moment := clock_1();
    has := least(old.level + greatest(moment - old.at, 0) * a_rate, a_burst);
    enough := has >= a_amount;
    UPDATE buckets SET level = has - CASE WHEN enough THEN a_amount ELSE 0 END, at = moment WHERE name = a_name;
    RETURN CASE WHEN enough THEN 0 ELSE (a_amount - has) / a_rate END;
END $$;
"""

FUNCTIONS = _HELPERS + _APPEND + _LIVENESS + _INPUTS + _LOG + _CLAIM + _SHARED
