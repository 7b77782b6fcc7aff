"""The fifth migration: an index of the labels of sessions, newest session first. It replaces an index of the whole
column, which PostgreSQL does not use for the newest few of many: it reads all sessions backward instead."""

from __future__ import annotations

LABELS = """
CREATE TABLE session_labels (
    key text COLLATE "C" NOT NULL, value text COLLATE "C" NOT NULL, s bigint NOT NULL, PRIMARY KEY (key, value, s)
);
CREATE FUNCTION labels_5() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO session_labels SELECT l.key, l.value, NEW.s FROM jsonb_each_text(NEW.labels) l;
    ELSE
        DELETE FROM session_labels x USING jsonb_each_text(OLD.labels) l
        WHERE x.key = l.key AND x.value = l.value AND x.s = OLD.s;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER labels_made AFTER INSERT ON sessions
    FOR EACH ROW WHEN (NEW.labels <> '{}') EXECUTE FUNCTION labels_5();
CREATE TRIGGER labels_gone AFTER DELETE ON sessions
    FOR EACH ROW WHEN (OLD.labels <> '{}') EXECUTE FUNCTION labels_5();
"""

# A session that is deleted while this runs may leave rows: no query returns them, and numbers are never reused.
FILL = """
INSERT INTO session_labels SELECT l.key, l.value, x.s FROM sessions x, jsonb_each_text(x.labels) l
WHERE x.labels <> '{}' ON CONFLICT DO NOTHING
"""
OLD_INDEX = "DROP INDEX CONCURRENTLY IF EXISTS sessions_labels"
