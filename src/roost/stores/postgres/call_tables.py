"""The third and fourth migrations: the cost so far of open calls, and the settled cost of lost ones."""

from __future__ import annotations

CALLS = """
CREATE TABLE calls (
    id text COLLATE "C" PRIMARY KEY,
    beat_at float8 NOT NULL,
    cost numeric NOT NULL,
    reserved numeric NOT NULL,
    lost_at float8,
    charged numeric,
    settled text,
    told boolean NOT NULL DEFAULT false,
    note bytea NOT NULL
) WITH (fillfactor = 75, autovacuum_vacuum_scale_factor = 0.05);
CREATE FUNCTION unlocked_3(node text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    IF pg_try_advisory_lock_shared(key_1(node)) THEN
        PERFORM pg_advisory_unlock_shared(key_1(node));
        RETURN true;
    END IF;
    RETURN false;
END $$;
CREATE FUNCTION reserve_3(
    a_id text, a_budget text[], a_amount numeric[], a_limit numeric[], a_cost numeric, a_note bytea
) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    refused text := reserve_1(a_id, a_budget, a_amount, a_limit);
BEGIN
    IF refused IS NULL AND a_note IS NOT NULL THEN
        INSERT INTO calls (id, beat_at, cost, reserved, note)
        SELECT a_id, clock_1(), a_cost, max(r.amount), a_note FROM reservations r WHERE r.id = a_id HAVING count(*) > 0
        ON CONFLICT (id) DO NOTHING;
    END IF;
    RETURN refused;
END $$;
CREATE FUNCTION correct_3(a_id text, a_cost numeric, a_by text, a_lasting text[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    before numeric;
BEGIN
    SELECT cost INTO before FROM calls WHERE id = a_id AND lost_at IS NOT NULL FOR UPDATE;
    IF FOUND THEN
        PERFORM lock_budgets_1(a_lasting);
        UPDATE budgets SET spent = spent + a_cost - before WHERE name = ANY (a_lasting);
        UPDATE calls SET cost = a_cost, settled = a_by WHERE id = a_id;
    END IF;
END $$;
CREATE FUNCTION settle_3(a_id text, a_budget text[], a_amount numeric[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    body bytea;
BEGIN
    PERFORM settle_1(a_id, a_budget, a_amount);
    DELETE FROM calls WHERE id = a_id AND lost_at IS NULL;
    SELECT note INTO body FROM calls WHERE id = a_id AND settled IS NULL FOR UPDATE;
    IF FOUND THEN
        PERFORM correct_3(
            a_id, coalesce((SELECT max(a) FROM unnest(a_amount) AS c (a)), 0), 'end',
            ARRAY(SELECT json_array_elements_text(convert_from(body, 'UTF8')::json -> 'lasting')));
    END IF;
END $$;
CREATE FUNCTION lose_3(a_id text, a_cost numeric, a_note bytea, a_told boolean) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    names text[] := ARRAY(SELECT budget FROM reservations WHERE id = a_id);
    most numeric;
BEGIN
    PERFORM lock_budgets_1(names);
    SELECT max(amount) INTO most FROM reservations WHERE id = a_id;
    IF most IS NULL THEN
        RETURN false;
    END IF;
    PERFORM settle_1(a_id, names, array_fill(a_cost, ARRAY[cardinality(names)]));
    INSERT INTO calls (id, beat_at, cost, reserved, lost_at, charged, told, note)
    VALUES (a_id, clock_1(), a_cost, most, clock_1(), a_cost, a_told, a_note)
    ON CONFLICT (id) DO UPDATE SET
        cost = excluded.cost, reserved = excluded.reserved, lost_at = excluded.lost_at, charged = excluded.charged,
        told = excluded.told, note = excluded.note;
    RETURN true;
END $$;
"""

# All functions lock budgets first, then calls. The first `correct_3` locked in the other order, and deadlocked with a
# late settlement. Nodes of an older version call the same functions.
CALL_ORDER = """
ALTER TABLE calls ADD COLUMN provider_id text, ADD COLUMN started float8;
UPDATE calls SET started = (convert_from(note, 'UTF8')::json ->> 'started')::float8 WHERE lost_at IS NOT NULL;
CREATE FUNCTION correct_4(a_id text, a_cost numeric, a_by text, a_lasting text[], a_again boolean) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    before numeric;
BEGIN
    PERFORM lock_budgets_1(a_lasting);
    SELECT cost INTO before FROM calls
    WHERE id = a_id AND lost_at IS NOT NULL AND (a_again OR settled IS NULL) FOR UPDATE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    UPDATE budgets SET spent = spent + a_cost - before WHERE name = ANY (a_lasting);
    UPDATE calls SET cost = a_cost, settled = a_by WHERE id = a_id;
    RETURN true;
END $$;
CREATE OR REPLACE FUNCTION correct_3(a_id text, a_cost numeric, a_by text, a_lasting text[]) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM correct_4(a_id, a_cost, a_by, a_lasting, true);
END $$;
CREATE OR REPLACE FUNCTION settle_3(a_id text, a_budget text[], a_amount numeric[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    body bytea;
BEGIN
    PERFORM settle_1(a_id, a_budget, a_amount);
    DELETE FROM calls WHERE id = a_id AND lost_at IS NULL;
    SELECT note INTO body FROM calls WHERE id = a_id AND settled IS NULL;
    IF FOUND THEN
        PERFORM correct_4(
            a_id, coalesce((SELECT max(a) FROM unnest(a_amount) AS c (a)), 0), 'end',
            ARRAY(SELECT json_array_elements_text(convert_from(body, 'UTF8')::json -> 'lasting')), false);
    END IF;
END $$;
CREATE OR REPLACE FUNCTION lose_3(a_id text, a_cost numeric, a_note bytea, a_told boolean) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    names text[] := ARRAY(SELECT budget FROM reservations WHERE id = a_id);
    most numeric;
BEGIN
    PERFORM lock_budgets_1(names);
    SELECT max(amount) INTO most FROM reservations WHERE id = a_id;
    IF most IS NULL THEN
        RETURN false;
    END IF;
    PERFORM settle_1(a_id, names, array_fill(a_cost, ARRAY[cardinality(names)]));
    INSERT INTO calls (id, beat_at, cost, reserved, lost_at, charged, told, note, started)
    VALUES (
        a_id, clock_1(), a_cost, most, clock_1(), a_cost, a_told, a_note,
        (convert_from(a_note, 'UTF8')::json ->> 'started')::float8)
    ON CONFLICT (id) DO UPDATE SET
        cost = excluded.cost, reserved = excluded.reserved, lost_at = excluded.lost_at, charged = excluded.charged,
        told = excluded.told, note = excluded.note, started = excluded.started;
    RETURN true;
END $$;
"""
LOST_INDEX = "CREATE INDEX CONCURRENTLY calls_lost ON calls (started) WHERE lost_at IS NOT NULL"
