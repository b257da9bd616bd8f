-- Who may do what: the owner, 'read', 'ingest', 'admin', and nobody else.
SET timezone = 'UTC'; SET datestyle = 'ISO'; SET client_min_messages = notice;
CREATE ROLE regress_topk_owner;
CREATE ROLE regress_topk_reader;
CREATE ROLE regress_topk_ingester;
CREATE ROLE regress_topk_admin;
CREATE ROLE regress_topk_group;
CREATE ROLE regress_topk_member IN ROLE regress_topk_group;
CREATE ROLE regress_topk_nobody;
CREATE SCHEMA owned AUTHORIZATION regress_topk_owner;
SET search_path = owned, public;
SET ROLE regress_topk_owner;
SELECT topk.create_counter();
SELECT topk.grant_access('regress_topk_reader', 'read');
RESET ROLE;
GRANT USAGE ON SCHEMA owned TO regress_topk_reader, regress_topk_ingester, regress_topk_admin, regress_topk_group, regress_topk_nobody;
SET ROLE regress_topk_owner;
SELECT topk.grant_access('regress_topk_ingester', 'ingest');
SELECT topk.grant_access('regress_topk_admin', 'admin');
SELECT topk.grant_access('regress_topk_group', 'read'), topk.grant_access('regress_topk_group', 'ingest'), topk.grant_access('regress_topk_group', 'ingest');
RESET ROLE;
SELECT counter, role, privilege FROM topk.access ORDER BY role::text, privilege;

-- What each can do: the first line of the error, if there is one.
CREATE FUNCTION tries(role text) RETURNS TABLE (statement text, outcome text) LANGUAGE plpgsql AS $$
DECLARE
    attempt record;
BEGIN
    EXECUTE format('SET LOCAL ROLE %I', role);
    FOR attempt IN SELECT * FROM (VALUES
        ('topk hour', 'SELECT * FROM topk(''hour'')'), ('topk all_time', 'SELECT * FROM topk(''all_time'')'), ('view', 'SELECT * FROM owned.video_views_day'),
        ('status', 'SELECT * FROM topk.status()'), ('hours', 'SELECT * FROM topk.hours(''video_views'', now(), now())'),
        ('claim', 'SELECT * FROM topk.claim(''video_views'', ''events'', ''c'', ''g'', ''m'', 1, ''{0}'', ''{0}'', ''{1}'')'),
        ('flush', 'SELECT * FROM topk.flush(''video_views'', ''events'', t.deltas(), NULL, NULL, ARRAY[t.advance(0, 1, 0, 1)])'),
        ('reset', 'SELECT topk.reset_progress(''video_views'', ''events'', 0, 1, ''why'')'), ('grant', 'SELECT topk.grant_access(''regress_topk_nobody'', ''ingest'')'),
        ('revoke', 'SELECT topk.revoke_access(''regress_topk_reader'', ''ingest'')'), 
('insert', 'INSERT INTO owned.video_views_hour VALUES (now(), ''a'', 1)'), ('insert late', 'INSERT INTO owned.video_views_late VALUES (''day'', now(), ''a'', 1)'),
        ('delete', 'DELETE FROM owned.video_views_day_rollup'), ('registry', 'SELECT * FROM topk.counter_data'), ('offsets', 'UPDATE topk.kafka_progress_data SET next_offset = 0'),
        ('offsets view', 'UPDATE topk.kafka_progress SET next_offset = 0'), ('hour_map', 'INSERT INTO topk.hour_map VALUES (''x'', now(), now(), now(), now())'),
        ('drop', 'SELECT topk.drop_counter(''video_views'')')) a (name, sql)
    LOOP
        statement := attempt.name;
        outcome := split_part(t.error(attempt.sql), E'\n', 1);
        RETURN NEXT;
    END LOOP;
    RESET ROLE;
END $$;
BEGIN; SELECT * FROM tries('regress_topk_nobody'); ROLLBACK;
BEGIN; SELECT * FROM tries('regress_topk_reader'); ROLLBACK;
BEGIN; SELECT * FROM tries('regress_topk_ingester'); ROLLBACK;
BEGIN; SELECT * FROM tries('regress_topk_admin'); ROLLBACK;
BEGIN; SELECT * FROM tries('regress_topk_member'); ROLLBACK;
BEGIN; SELECT * FROM tries('regress_topk_owner'); ROLLBACK;

-- Partitions made by an ingester's flush belong to the owner; no trigger runs with the ingester's or the extension owner's rights.
SET ROLE regress_topk_owner;
CREATE TABLE owned.seen (who text, session text);
CREATE FUNCTION owned.look() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO owned.seen VALUES (current_user, CASE WHEN current_setting('search_path') = 'pg_catalog, pg_temp' THEN 'pinned' END); RETURN NULL; END $$;
CREATE TRIGGER look AFTER INSERT ON owned.video_views_hour FOR EACH ROW EXECUTE FUNCTION owned.look();
SET ROLE regress_topk_ingester;
SELECT partition, status FROM topk.claim('video_views', 'events', 'c', 'g', 'm', 1, '{0}', '{0}', '{1}');
SELECT topk.flush('video_views', 'events', t.deltas(t.hour('2020-01-01Z', t.entry('a', 1))), ARRAY[ROW('2020-01-01Z', 'a', 1, 1)]::topk.flush_late[], ARRAY[ROW(0, 0, 1, 'x', NULL, NULL)]::topk.flush_dead[], ARRAY[t.advance(0, 1, 0, 1)]);
SELECT current_user;
-- After an error the caller is who it was.
SELECT t.error($$SELECT topk.flush('video_views', 'events', t.deltas(t.hour('2020-01-01 00:30Z', t.entry('a', 1))), NULL, NULL, ARRAY[t.advance(0, 1, 1, 2)])$$), current_user;
RESET ROLE;
SELECT pg_get_userbyid(relowner) FROM pg_class WHERE relname = 'video_views_hour_20200101';
SELECT * FROM owned.seen;
-- Operators of the caller's search_path are not used.
CREATE FUNCTION public.evil_plus(bigint, bigint) RETURNS bigint LANGUAGE sql AS 'SELECT 666::bigint';
CREATE OPERATOR public.+ (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = public.evil_plus);
SET ROLE regress_topk_ingester;
SET search_path = public, pg_catalog;
SELECT topk.flush('video_views', 'events', t.deltas(t.hour('2020-01-01Z', t.entry('a', 1))), NULL, NULL, ARRAY[t.advance(0, 1, 1, 2)]);
RESET ROLE;
SET search_path = owned, public;
DROP OPERATOR public.+ (bigint, bigint);
DROP FUNCTION public.evil_plus;
SELECT * FROM owned.video_views_hour;

-- Views show the rows of counters one may read.
SELECT topk.create_counter('hidden');
SELECT partition FROM topk.claim('hidden', 'events', 'c', 'g', 'm', 1, '{0}', '{0}', '{1}');
CREATE FUNCTION shown(role text) RETURNS TABLE (role_ text, counters text[], progress text[], letters bigint, late bigint, access bigint) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('SET LOCAL ROLE %I', role);
    RETURN QUERY SELECT role, ARRAY(SELECT name FROM topk.counter ORDER BY 1), ARRAY(SELECT DISTINCT counter FROM topk.kafka_progress ORDER BY 1), (SELECT count(*) FROM topk.dead_letter), (SELECT count(*) FROM topk.late_views), (SELECT count(*) FROM topk.access);
    RESET ROLE;
END $$;
SELECT s.* FROM unnest(ARRAY['nobody', 'reader', 'ingester', 'admin', 'member', 'owner']) r, shown('regress_topk_' || r) s;

-- Revoking takes it back; unknown roles and privileges are refused; an owner's access is his.
SET ROLE regress_topk_admin;
SELECT topk.revoke_access('regress_topk_reader', 'read'), topk.revoke_access('regress_topk_ingester', 'ingest'), topk.revoke_access('regress_topk_group', 'read'), topk.revoke_access('regress_topk_group', 'ingest');
SELECT t.error($$SELECT topk.grant_access('regress_topk_no_such', 'read')$$);
SELECT t.error($$SELECT topk.grant_access('regress_topk_reader', 'write')$$);
SELECT t.error($$SELECT topk.grant_access('regress_topk_reader', 'read', 'no such')$$);
SELECT t.error($$SELECT topk.grant_access(NULL, 'read')$$);
SELECT t.error($$SELECT topk.revoke_access('regress_topk_owner', 'read')$$);
RESET ROLE;
SET ROLE regress_topk_reader;
SELECT t.error($$SELECT * FROM topk('hour')$$);
SET ROLE regress_topk_ingester;
SELECT t.error($$SELECT topk.claim('video_views', 'events', 'c', 'g', 'm', 1, '{0}', '{0}', '{1}')$$);
RESET ROLE;
SELECT counter, role, privilege FROM topk.access ORDER BY role::text, privilege;
SELECT topk.drop_counter('hidden'), topk.drop_counter('video_views');
DROP FUNCTION tries, shown;
DROP FUNCTION owned.look;
DROP TABLE owned.seen;
DROP SCHEMA owned;
DROP ROLE regress_topk_owner, regress_topk_reader, regress_topk_ingester, regress_topk_admin, regress_topk_member, regress_topk_group, regress_topk_nobody;
