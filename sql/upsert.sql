-- topk.flush adds natively what it adds by SQL, and leaves to SQL what only SQL does exactly. DEBUG1 tells which it was, and why.
SET timezone = 'UTC'; SET datestyle = 'ISO'; SET client_min_messages = warning;
CALL t.fill_caches();
CREATE ROLE upsert_owner;
CREATE SCHEMA counters AUTHORIZATION upsert_owner;
GRANT CREATE ON SCHEMA public TO upsert_owner;
GRANT USAGE ON SCHEMA topk TO upsert_owner;
SET SESSION AUTHORIZATION upsert_owner;
SET search_path = counters, public;
SELECT topk.create_counter('n');
SELECT topk.make_partitions('n', '2020-01-01Z', '2020-01-03Z');
RESET SESSION AUTHORIZATION;
SELECT partition FROM topk.claim('n', 'events', 'cluster', 'group', 'member', 1, '{0}', '{0}', '{1000}');
-- One more view for two videos, in hours of two partitions; an error leaves everything as it was.
CREATE PROCEDURE flush() LANGUAGE plpgsql AS $$
DECLARE
    message text; detail text; owned bigint; next bigint;
BEGIN
    SELECT epoch, next_offset INTO owned, next FROM topk.kafka_progress;
    SET LOCAL client_min_messages = debug1;
    PERFORM topk.flush('n', 'events', t.deltas(t.hour('2020-01-01 23:00Z', t.entry('a', 1), t.entry('b', 1)), t.hour('2020-01-02 00:00Z', t.entry('a', 1))), NULL, NULL,
        ARRAY[t.advance(0, owned, next, next + 3)]);
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL;
    RAISE INFO '% %', SQLSTATE, concat_ws(': ', message, nullif(detail, ''));
END $$;
CREATE VIEW counted AS SELECT window_start, video_id, views FROM n_hour ORDER BY 1, 2;
CALL flush();
CALL flush();
TABLE counted;

-- The option.
SET topk.native_upsert = off;
CALL flush();
RESET topk.native_upsert;

-- Triggers: of rows, of statements, of a partition alone, disabled ones too; foreign keys.
CREATE FUNCTION raise() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE INFO 'trigger % %', TG_NAME, TG_LEVEL; RETURN NEW; END $$;
CREATE TRIGGER each BEFORE INSERT ON n_hour FOR EACH ROW EXECUTE FUNCTION raise();
CALL flush();
DROP TRIGGER each ON n_hour;
CREATE TRIGGER statement AFTER UPDATE ON n_hour EXECUTE FUNCTION raise();
CALL flush();
ALTER TABLE n_hour DISABLE TRIGGER statement;
CALL flush();
DROP TRIGGER statement ON n_hour;
CREATE TRIGGER second_day AFTER UPDATE ON n_hour_20200102 FOR EACH ROW EXECUTE FUNCTION raise();
CALL flush();
DROP TRIGGER second_day ON n_hour_20200102;
CREATE TABLE video (id text COLLATE "C" PRIMARY KEY);
INSERT INTO video VALUES ('a'), ('b');
ALTER TABLE n_hour ADD CONSTRAINT known FOREIGN KEY (video_id) REFERENCES video;
CALL flush();
ALTER TABLE n_hour DROP CONSTRAINT known;
CREATE TABLE comment (window_start timestamptz, video_id text COLLATE "C", FOREIGN KEY (window_start, video_id) REFERENCES n_hour);
CALL flush();
DROP TABLE comment;

-- Rules.
CREATE RULE also AS ON UPDATE TO n_hour DO ALSO NOTHING;
CALL flush();
DROP RULE also ON n_hour;
CALL flush();

-- Policies, where they apply to the owner.
ALTER TABLE n_hour ENABLE ROW LEVEL SECURITY;
CREATE POLICY everything ON n_hour USING (true);
CALL flush();
ALTER TABLE n_hour FORCE ROW LEVEL SECURITY;
CALL flush();
ALTER TABLE n_hour NO FORCE ROW LEVEL SECURITY;
ALTER TABLE n_hour DISABLE ROW LEVEL SECURITY;

-- Rights of the owner: SQL says what is missing, and whether rights on columns are enough.
REVOKE UPDATE ON n_hour FROM upsert_owner;
CALL flush();
GRANT UPDATE (views) ON n_hour TO upsert_owner;
CALL flush();
GRANT UPDATE ON n_hour TO upsert_owner;
REVOKE INSERT ON n_hour FROM upsert_owner;
CALL flush();
GRANT INSERT ON n_hour TO upsert_owner;
REVOKE USAGE ON SCHEMA counters FROM upsert_owner;
CALL flush();
GRANT USAGE ON SCHEMA counters TO upsert_owner;

-- Check constraints; the one that views are positive is no obstacle.
ALTER TABLE n_hour_20200102 ADD CONSTRAINT few CHECK (views < 15);
CALL flush();
CALL flush();
ALTER TABLE n_hour_20200102 DROP CONSTRAINT few;
ALTER TABLE n_hour ADD CONSTRAINT never CHECK (views <> 0);
CALL flush();
ALTER TABLE n_hour DROP CONSTRAINT never;
ALTER TABLE n_hour ADD CONSTRAINT positive CHECK (views > 0) NOT VALID;
CALL flush();
ALTER TABLE n_hour VALIDATE CONSTRAINT positive;
CALL flush();
ALTER TABLE n_hour DROP CONSTRAINT positive;

-- Indexes: unique ones and exclusion constraints, those on expressions, with a predicate; not plain ones.
CREATE UNIQUE INDEX other ON n_hour_20200102 (video_id, window_start);
CALL flush();
DROP INDEX other;
ALTER TABLE n_hour_20200102 ADD CONSTRAINT apart EXCLUDE USING btree (video_id WITH =, window_start WITH =);
CALL flush();
ALTER TABLE n_hour_20200102 DROP CONSTRAINT apart;
CREATE INDEX by_length ON n_hour (length(video_id));
CALL flush();
DROP INDEX by_length;
CREATE INDEX by_views ON n_hour_20200102 (views) WHERE views > 1000;
CALL flush();
DROP INDEX by_views;
CREATE INDEX by_views ON n_hour (views) INCLUDE (video_id);
CALL flush();
SET enable_seqscan = off;
SELECT window_start, video_id FROM n_hour WHERE views = (SELECT max(views) FROM n_hour);
RESET enable_seqscan;
DROP INDEX by_views;

-- Columns: more of them, defaults, generated ones, identity; their order in a partition.
ALTER TABLE n_hour ADD COLUMN region text DEFAULT 'everywhere';
CALL flush();
ALTER TABLE n_hour DROP COLUMN region;
CALL flush();
TABLE counted;
DROP VIEW counted;
SELECT topk.drop_counter('n');
SET SESSION AUTHORIZATION upsert_owner;
SELECT topk.create_counter('n');
CREATE TABLE by_hand (views bigint NOT NULL CONSTRAINT n_hour_views_check CHECK (views > 0), video_id text COLLATE "C" NOT NULL, window_start timestamptz NOT NULL, PRIMARY KEY (window_start, video_id));
ALTER TABLE n_hour ATTACH PARTITION by_hand FOR VALUES FROM ('2020-01-01Z') TO ('2020-01-02Z');
RESET SESSION AUTHORIZATION;
SELECT partition FROM topk.claim('n', 'events', 'cluster', 'group', 'member', 1, '{0}', '{0}', '{1000}');
SELECT topk.make_partitions('n', '2020-01-02Z', '2020-01-03Z');
CALL flush();
CALL flush();
SELECT tableoid::regclass, window_start, video_id, views FROM n_hour ORDER BY 2, 3;
ALTER TABLE n_hour DETACH PARTITION by_hand;
DROP TABLE by_hand;
-- A partition that is partitioned.
CREATE TABLE by_hand (LIKE n_hour INCLUDING ALL) PARTITION BY HASH (video_id);
CREATE TABLE by_hand_0 PARTITION OF by_hand FOR VALUES WITH (MODULUS 1, REMAINDER 0);
ALTER TABLE by_hand OWNER TO upsert_owner;
ALTER TABLE n_hour ATTACH PARTITION by_hand FOR VALUES FROM ('2020-01-01Z') TO ('2020-01-02Z');
CALL flush();
ALTER TABLE n_hour DETACH PARTITION by_hand;
DROP TABLE by_hand;
-- Another access method: of the same code, but who knows.
CREATE ACCESS METHOD pile TYPE TABLE HANDLER heap_tableam_handler;
CREATE TABLE by_hand (LIKE n_hour INCLUDING ALL) USING pile;
ALTER TABLE by_hand OWNER TO upsert_owner;
ALTER TABLE n_hour ATTACH PARTITION by_hand FOR VALUES FROM ('2020-01-01Z') TO ('2020-01-02Z');
CALL flush();
ALTER TABLE n_hour DETACH PARTITION by_hand;
DROP TABLE by_hand;
DROP ACCESS METHOD pile;
-- Replica identity.
SELECT topk.make_partitions('n', '2020-01-01Z', '2020-01-02Z');
CALL flush();
SET client_min_messages = error;
CREATE PUBLICATION everything FOR TABLE n_hour;
SET client_min_messages = warning;
CALL flush();
ALTER TABLE n_hour_20200101 REPLICA IDENTITY NOTHING;
CALL flush();
ALTER TABLE n_hour_20200101 REPLICA IDENTITY FULL;
CALL flush();
DROP PUBLICATION everything;
ALTER TABLE n_hour_20200101 REPLICA IDENTITY DEFAULT;

-- Errors of the native path name the culprit, and leave nothing behind: neither rows nor what was done before, in the savepoint of a block of
-- PL/pgSQL that goes on.
INSERT INTO n_hour VALUES ('2020-01-02 00:00Z', 'z', 9223372036854775807);
CREATE FUNCTION flush_many(ids text, from_offset bigint) RETURNS text LANGUAGE sql AS
    $$ SELECT t.error(format('SELECT topk.flush(%L, %L, %L, NULL, NULL, %L)', 'n', 'events', t.deltas(t.hour('2020-01-02 00:00Z', VARIADIC (SELECT array_agg(t.entry(id, 1) ORDER BY id COLLATE "C")
        FROM (SELECT ids || lpad(n::text, 5, '0') FROM generate_series(1, 6000) n UNION ALL SELECT 'z') s (id)))), ARRAY[t.advance(0, (SELECT epoch FROM topk.kafka_progress), from_offset, from_offset + 1)])) $$;
-- With an index that keeps pages pinned from one insertion to the next.
CREATE INDEX by_views ON n_hour USING brin (views) WITH (pages_per_range = 1);
SELECT flush_many('m', (SELECT next_offset FROM topk.kafka_progress));
SELECT count(*) FROM n_hour WHERE video_id LIKE 'm%';
DELETE FROM n_hour WHERE video_id = 'z';
SELECT flush_many('m', (SELECT next_offset FROM topk.kafka_progress));
SELECT flush_many('m', (SELECT next_offset FROM topk.kafka_progress));
SELECT count(*), sum(views), min(views), max(views) FROM n_hour WHERE video_id LIKE 'm%';
SELECT topk.index_check(indexrelid) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam WHERE a.amname = 'topk' AND i.indrelid = 'n_hour_20200102'::regclass;

SET enable_seqscan = off; SET enable_indexscan = off;
SELECT count(*), sum(views) FROM n_hour WHERE views = 2 AND video_id LIKE 'm%';
RESET enable_seqscan; RESET enable_indexscan;
DROP FUNCTION flush_many;
DROP PROCEDURE flush;
SELECT topk.drop_counter('n');
DROP FUNCTION raise;
DROP TABLE video;
REVOKE ALL ON SCHEMA public FROM upsert_owner;
REVOKE ALL ON SCHEMA topk FROM upsert_owner;
DROP SCHEMA counters CASCADE;
DROP ROLE upsert_owner;
