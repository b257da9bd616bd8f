-- The public contract of the extension: objects, signatures, volatility, comments, and that PUBLIC writes nothing.
-- Run by pg_prove or psql in a database with the extensions topk and pgtap; leaves nothing behind.
BEGIN;
SET client_min_messages = warning;
SET search_path = public, pg_catalog;
SELECT * FROM no_plan();

-- Objects
SELECT has_extension('topk');
SELECT has_schema('topk');
SELECT is((SELECT extversion FROM pg_extension WHERE extname = 'topk'), topk.version(), 'library and extension are of one version');
SELECT has_view('topk', v, 'view topk.' || v) FROM unnest(ARRAY['counter', 'kafka_progress', 'progress_history', 'dead_letter', 'late_views', 'access', 'hour_book', 'correction', 'seal_hold', 'time_window', 'leaderboard', 'expired_late', 'expired_dead']) v;
SELECT ok(c.reloptions @> ARRAY['security_barrier=true'], 'topk.' || relname || ' is a security barrier')
    FROM pg_class c WHERE relnamespace = 'topk'::regnamespace AND relkind = 'v';
SELECT has_table('topk', 'hour_map', 'table topk.hour_map');
SELECT is((SELECT amhandler::text FROM pg_am WHERE amname = 'topk' AND amtype = 'i'), 'topk.index_handler', 'index access method topk');
SELECT has_type('topk', t, 'type topk.' || t) FROM unnest(ARRAY['flush_late', 'flush_dead', 'flush_progress']) t;
SELECT columns_are('topk', 'kafka_progress', ARRAY['counter', 'topic', 'partition', 'cluster_id', 'group_id', 'member', 'owner_pid', 'owner_backend_start', 'epoch',
    'start_offset', 'next_offset', 'last_offset', 'last_timestamp_ms', 'last_crc', 'watermark', 'counted', 'late', 'dead', 'skipped', 'lost', 'created_at', 'flushed_at', 'visible_after', 'clock_advanced_at']);
SELECT columns_are('topk', 'dead_letter', ARRAY['counter', 'topic', 'partition', 'offset', 'epoch', 'record_timestamp', 'reason', 'key', 'payload', 'recorded_at']);
SELECT columns_are('topk', 'late_views', ARRAY['counter', 'hour_start', 'video_id', 'views', 'records', 'first_seen', 'last_seen']);
SELECT columns_are('topk', 'hour_book', ARRAY['counter', 'hour_start', 'topic', 'partition', 'views', 'late_views', 'late_records', 'late_in_day', 'late_in_month']);
SELECT columns_are('topk', 'correction', ARRAY['counter', 'hour_start', 'video_id', 'delta', 'views_after', 'reason', 'corrected_by', 'corrected_at']);
SELECT columns_are('topk', 'hour_map', ARRAY['counter', 'hour_start', 'hour_end', 'day_start', 'month_start']);
SELECT columns_are('topk', 'roll_up_marker', ARRAY['counter', 'span', 'window_start', 'video_id']);
SELECT columns_are('topk', 'counter', ARRAY['name', 'hour_table', 'time_zone', 'lateness', 'max_clock_skew', 'max_age', 'idle_timeout', 'sealed_through', 'seal_held_at', 'created_at',
    'hour_retention', 'day_retention', 'hour_list_retention', 'late_retention', 'hours_expired_through', 'days_expired_through', 'hours_expired_at', 'late_table', 'day_rollup', 'month_rollup', 'all_time_rollup']);
SELECT columns_are('topk', 'leaderboard', ARRAY['counter', 'span', 'window_start', 'rank', 'video_id', 'views', 'sealed', 'revision', 'refreshed_at']);
SELECT columns_are('topk', 'expired_late', ARRAY['counter', 'hour_start', 'views', 'records']);
SELECT columns_are('topk', 'expired_dead', ARRAY['counter', 'topic', 'partition', 'letters']);
SELECT columns_are('topk', 'seal_hold', ARRAY['counter', 'held_at', 'held_by', 'reason', 'resumed_at', 'resumed_by']);
SELECT columns_are('topk', 'time_window', ARRAY['counter', 'span', 'window_start', 'window_end', 'sealed', 'rolled_up', 'revision']);

-- Signatures with their defaults, volatility, strictness
CREATE TEMPORARY TABLE contract (signature text, arguments text, result text, volatility "char", strict boolean);
INSERT INTO contract VALUES
    ('topk.create_counter', $$name text DEFAULT 'video_views'::text, time_zone text DEFAULT 'UTC'::text, lateness interval DEFAULT '00:01:00'::interval, max_clock_skew interval DEFAULT '00:05:00'::interval, max_age interval DEFAULT '400 days'::interval, idle_timeout interval DEFAULT '00:01:00'::interval$$, 'void', 'v', false),
    ('topk.drop_counter', 'name text', 'void', 'v', false),
    ('topk.claim', 'counter text, topic text, cluster_id text, group_id text, member text, partition_count integer, partitions integer[], log_starts bigint[], log_ends bigint[], epochs bigint[] DEFAULT NULL::bigint[], take_over boolean DEFAULT false',
        'TABLE(partition integer, status text, epoch bigint, next_offset bigint, last_offset bigint, last_timestamp_ms bigint, last_crc bigint, watermark timestamp with time zone, sealed_through timestamp with time zone, time_zone text, lateness interval, max_clock_skew interval, max_age interval, idle_timeout interval)', 'v', false),
    ('topk.flush', 'counter text, topic text, deltas bytea, late topk.flush_late[], dead topk.flush_dead[], progress topk.flush_progress[]', 'timestamp with time zone', 'v', false),
    ('topk.hours', 'counter text, since timestamp with time zone, until timestamp with time zone', 'TABLE(hour_start timestamp with time zone, hour_end timestamp with time zone, day_start timestamp with time zone, month_start timestamp with time zone)', 's', false),
    ('topk.delta_rows', 'deltas bytea', 'TABLE(window_start timestamp with time zone, video_id text, views bigint)', 'i', true),
    ('topk.reset_progress', 'counter text, topic text, partition integer, next_offset bigint, reason text', 'void', 'v', false),
    ('topk.retire_partition', 'counter text, topic text, partition integer, reason text', 'void', 'v', false),
    ('topk.correct', 'counter text, hour timestamp with time zone, video_id text, delta bigint, reason text', 'bigint', 'v', false),
    ('topk.audit', $$counter text DEFAULT 'video_views'::text$$, 'TABLE(check_name text, subject text, expected numeric, found numeric, ok boolean, detail text)', 's', false),
    ('topk.grant_access', $$role text, privilege text, counter text DEFAULT 'video_views'::text$$, 'void', 'v', false),
    ('topk.revoke_access', $$role text, privilege text, counter text DEFAULT 'video_views'::text$$, 'void', 'v', false),
    ('topk.status', $$counter text DEFAULT 'video_views'::text$$, 'TABLE(topic text, partition integer, group_id text, member text, owner_pid integer, owner_alive boolean, epoch bigint, start_offset bigint, next_offset bigint, counted bigint, late bigint, dead bigint, skipped bigint, lost bigint, watermark timestamp with time zone, flushed_at timestamp with time zone, sealed_through timestamp with time zone, watermark_age interval, visible_after interval, holds_seal_back text)', 's', false),
    ('topk.seal', $$IN counter text DEFAULT 'video_views'::text$$, NULL, 'v', false),
    ('topk.roll_up', $$IN counter text DEFAULT 'video_views'::text$$, NULL, 'v', false),
    ('topk.roll_up_step', 'counter text, max_rows integer DEFAULT 200000', 'bigint', 'v', false),
    ('topk.add_views', 'stored bigint, added bigint, video_id text', 'bigint', 'i', true),
    ('topk.create_views', 'name text, hour_table regclass, late_table regclass, day_rollup regclass, month_rollup regclass, all_time_rollup regclass, replacing boolean DEFAULT false', 'void', 'v', false),
    ('topk.seal_step', 'counter text', 'timestamp with time zone', 'v', false),
    ('topk.hold_seal', $$counter text DEFAULT 'video_views'::text, reason text DEFAULT NULL::text$$, 'void', 'v', false),
    ('topk.resume_seal', $$counter text DEFAULT 'video_views'::text$$, 'void', 'v', false),
    ('topk.window_end', 'counter text, span text, at timestamp with time zone', 'timestamp with time zone', 's', false),
    ('topk.window_state', $$span text, at timestamp with time zone DEFAULT NULL::timestamp with time zone, counter text DEFAULT 'video_views'::text$$, 'TABLE(window_start timestamp with time zone, window_end timestamp with time zone, sealed boolean, revision bigint, watermark timestamp with time zone, counter_created_at timestamp with time zone)', 's', false),
    ('topk.top', $$span text, k integer DEFAULT 10, at timestamp with time zone DEFAULT NULL::timestamp with time zone, counter text DEFAULT 'video_views'::text$$, 'TABLE(rank bigint, video_id text, views bigint)', 's', false),
    ('topk', $$span text, k integer DEFAULT 10, at timestamp with time zone DEFAULT NULL::timestamp with time zone, counter text DEFAULT 'video_views'::text$$, 'TABLE(rank bigint, video_id text, views bigint)', 's', false),
    ('topk.between', $$since timestamp with time zone, until timestamp with time zone, k integer DEFAULT 10, counter text DEFAULT 'video_views'::text$$, 'TABLE(rank bigint, video_id text, views bigint)', 's', false),
    ('topk.explain', $$span text, k integer DEFAULT 10, at timestamp with time zone DEFAULT NULL::timestamp with time zone, counter text DEFAULT 'video_views'::text$$,
        'TABLE(list text, estimated_rows bigint, rows_read bigint, lookups bigint, last_views bigint, ended text)', 's', false),
    ('topk.set_retention', 'counter text, hours interval DEFAULT NULL::interval, days interval DEFAULT NULL::interval, hour_lists interval DEFAULT NULL::interval, late interval DEFAULT NULL::interval', 'void', 'v', false),
    ('topk.expire', $$IN counter text DEFAULT 'video_views'::text$$, NULL, 'v', false),
    ('topk.expire_step', $$counter text, lock_timeout interval DEFAULT '00:00:00.1'::interval$$, 'bigint', 'v', false),
    ('topk.advance_expiry', 'counter text', 'boolean', 'v', false),
    ('topk.delete_expired', 'counter text', 'bigint', 'v', false),
    ('topk.drop_expired_hours', 'counter text, lock_timeout interval, skipped integer DEFAULT 0', 'boolean', 'v', false),
    ('topk.note_expiry_trouble', 'counter text, trouble text, by_lock boolean', 'boolean', 'v', false),
    ('topk.refresh', $$IN counter text DEFAULT 'video_views'::text$$, NULL, 'v', false),
    ('topk.refresh_step', 'counter text, open_before timestamp with time zone DEFAULT NULL::timestamp with time zone', 'integer', 'v', false),
    ('topk.refresh_due', 'counter text, open_before timestamp with time zone', 'TABLE(span text, at timestamp with time zone)', 'v', false),
    ('topk.refresh_list', 'counter text, span text, at timestamp with time zone', 'boolean', 'v', false),
    ('topk.refresh_failed', 'counter text, span text, at timestamp with time zone, message text', 'void', 'v', false),
    ('topk.revise', 'counter text, hour timestamp with time zone', 'void', 'v', false),
    ('topk.maintain', $$IN counter text DEFAULT 'video_views'::text$$, NULL, 'v', false),
    ('topk.maintain_step', 'counter text, part text, since timestamp with time zone DEFAULT NULL::timestamp with time zone', 'boolean', 'v', false),
    ('topk.prepare_step', 'counter text', 'integer', 'v', false),
    ('topk.make_partition_ahead', 'counter text', 'boolean', 'v', false),
    ('topk.set_prepared_spans', 'counter text, spans text[]', 'void', 'v', false),
    ('topk.index_check', 'index regclass', 'void', 'v', true),
    ('topk.index_refill', 'index regclass', 'bigint', 'v', true),
    ('topk.index_stats', 'index regclass, OUT k integer, OUT groups bigint, OUT paged_groups bigint, OUT candidates bigint, OUT thresholds bigint, OUT histories bigint, OUT pages bigint, OUT bucket_pages bigint, OUT group_pages bigint, OUT directory_pages bigint, OUT free_pages bigint, OUT bytes bigint', 'record', 's', true),
    ('topk.index_groups', 'index regclass', 'TABLE(group_hash bigint, pages integer, candidates bigint, threshold text)', 's', true),
    ('topk.schedule', $$counter text DEFAULT 'video_views'::text, every interval DEFAULT NULL::interval$$, 'bigint', 'v', false),
    ('topk.unschedule', $$counter text DEFAULT 'video_views'::text$$, 'void', 'v', false),
    ('topk.job_name', $$counter text DEFAULT 'video_views'::text$$, 'text', 's', true),
    ('topk.make_partitions', 'counter text, since timestamp with time zone, until timestamp with time zone', 'integer', 'v', false),
    ('topk.register_counter', 'name text, hour_table regclass, time_zone text, lateness interval, max_clock_skew interval, max_age interval, idle_timeout interval', 'void', 'v', false),
    ('topk.version', '', 'text', 's', false);
SELECT is(pg_get_function_arguments(signature::regproc), arguments, signature || ' takes its arguments') FROM contract;
SELECT is(pg_get_function_result(signature::regproc), result, signature || ' returns its result') FROM contract;
SELECT is(p.provolatile, volatility, signature || ' has its volatility') FROM contract JOIN pg_proc p ON p.oid = signature::regproc;
SELECT is(p.proisstrict, strict, signature || ' is strict or not') FROM contract JOIN pg_proc p ON p.oid = signature::regproc;
SELECT is(p.prosecdef, false, signature || ' runs with the rights of its caller') FROM contract JOIN pg_proc p ON p.oid = signature::regproc;
-- What writes is unsafe in parallel queries, what reads is not.
SELECT is(p.proparallel = 'u', p.provolatile = 'v', p.proname || ' states its parallel safety')
    FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e' JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'topk';
SELECT is(p.proconfig, ARRAY['search_path=pg_catalog, pg_temp'], p.proname || ' pins search_path')
    FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e' JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'topk'
    WHERE p.prolang = (SELECT oid FROM pg_language WHERE lanname = 'c') AND p.proname NOT IN ('version', 'delta_rows', 'add_views', 'index_handler')
        AND NOT EXISTS (SELECT FROM pg_amproc WHERE amproc = p.oid);  -- called once a row; they name nothing

-- A comment on every object. (An array type and the row type of a table or view have none of their own.)
SELECT isnt(coalesce(obj_description(d.objid, d.classid::regclass::name), ''), '', 'a comment on ' || pg_describe_object(d.classid, d.objid, 0))
    FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'topk' AND d.deptype = 'e'
    WHERE NOT (d.classid = 'pg_type'::regclass AND EXISTS (SELECT FROM pg_type t LEFT JOIN pg_class c ON c.oid = t.typrelid WHERE t.oid = d.objid AND (t.typelem <> 0 OR c.relkind <> 'c')));
-- Every table that holds rows of counters is dumped; prepared sums are made anew, and lists that could not be made are tried again.
SELECT set_eq($$SELECT unnest(extconfig)::regclass::text FROM pg_extension WHERE extname = 'topk'$$,
    $$SELECT oid::regclass::text FROM pg_class WHERE relnamespace = 'topk'::regnamespace AND relkind = 'r' AND relname NOT IN ('prepared_sum_data', 'list_failure_data')$$, 'pg_dump keeps the rows of every table');

-- PUBLIC: no writing anywhere, no reading of the base tables; roles are not made.
SELECT ok(NOT has_table_privilege('public', c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER'), 'PUBLIC does not write ' || c.oid::regclass) FROM pg_class c
    WHERE c.relnamespace = 'topk'::regnamespace AND c.relkind IN ('r', 'v');
SELECT is(has_table_privilege('public', c.oid, 'SELECT'), c.relkind = 'v' OR c.relname IN ('hour_map', 'roll_up_marker'), 'PUBLIC reads views, the hour map and the markers only: ' || c.oid::regclass) FROM pg_class c
    WHERE c.relnamespace = 'topk'::regnamespace AND c.relkind IN ('r', 'v');
SELECT ok(NOT has_schema_privilege('public', 'topk', 'CREATE'), 'PUBLIC makes nothing in schema topk');
SELECT is((SELECT count(*) FROM pg_roles WHERE rolname LIKE 'topk%'), 0::bigint, 'no roles are made');

-- A counter of a plain user, and what the privileges open.
CREATE ROLE pgtap_topk_owner; CREATE ROLE pgtap_topk_read; CREATE ROLE pgtap_topk_ingest; CREATE ROLE pgtap_topk_admin; CREATE ROLE pgtap_topk_none;
CREATE SCHEMA pgtap_topk AUTHORIZATION pgtap_topk_owner;
GRANT USAGE ON SCHEMA pgtap_topk TO PUBLIC;
SET LOCAL ROLE pgtap_topk_owner;
SET LOCAL search_path = pgtap_topk, public, pg_catalog;
SELECT lives_ok($$SELECT topk.create_counter('pgtap')$$, 'a plain user makes a counter in a schema of his');
SELECT lives_ok($$SELECT topk.grant_access('pgtap_topk_read', 'read', 'pgtap'), topk.grant_access('pgtap_topk_ingest', 'ingest', 'pgtap'), topk.grant_access('pgtap_topk_admin', 'admin', 'pgtap')$$, 'and grants access to it');
RESET ROLE;
SELECT has_table('pgtap_topk', t, t) FROM unnest(ARRAY['pgtap_hour', 'pgtap_late', 'pgtap_day_rollup', 'pgtap_month_rollup', 'pgtap_all_time_rollup']) t;
SELECT has_view('pgtap_topk', v, v) FROM unnest(ARRAY['pgtap_day', 'pgtap_month', 'pgtap_all_time']) v;
SELECT columns_are('pgtap_topk', r, ARRAY['window_start', 'video_id', 'views']) FROM unnest(ARRAY['pgtap_hour', 'pgtap_day', 'pgtap_month', 'pgtap_all_time', 'pgtap_day_rollup', 'pgtap_month_rollup', 'pgtap_all_time_rollup']) r;
SELECT relation_owner_is('pgtap_topk'::name, relname, 'pgtap_topk_owner'::name) FROM pg_class WHERE relnamespace = 'pgtap_topk'::regnamespace AND relkind IN ('r', 'p', 'v');
SELECT isnt(coalesce(obj_description(oid, 'pg_class'), ''), '', 'a comment on ' || relname) FROM pg_class WHERE relnamespace = 'pgtap_topk'::regnamespace AND relkind IN ('r', 'p', 'v');
SELECT table_privs_are('pgtap_topk', relname, 'pgtap_topk_read', ARRAY['SELECT']) FROM pg_class WHERE relnamespace = 'pgtap_topk'::regnamespace AND relkind IN ('r', 'p', 'v');
SELECT table_privs_are('pgtap_topk', relname, r, '{}') FROM pg_class, unnest(ARRAY['pgtap_topk_ingest', 'pgtap_topk_admin', 'pgtap_topk_none']) r
    WHERE relnamespace = 'pgtap_topk'::regnamespace AND relkind IN ('r', 'p', 'v');

CREATE TEMPORARY TABLE attempt (number serial, what text, statement text);
INSERT INTO attempt (what, statement) VALUES
    ('list', $$SELECT * FROM topk.top('hour', 10, NULL, 'pgtap')$$), ('status', $$SELECT * FROM topk.status('pgtap')$$),
    ('hours', $$SELECT * FROM topk.hours('pgtap', now(), now())$$), ('claim', $$SELECT * FROM topk.claim('pgtap', 't', 'c', 'g', 'm', 1, '{0}', '{0}', '{1}')$$),
    ('flush', $$SELECT topk.flush('pgtap', 't', '\x01', NULL, NULL, ARRAY[ROW(0, 1, 0, 1, 0, 0, 0, NULL, 1, 0, 0, 0)::topk.flush_progress])$$),
    ('reset', $$SELECT topk.reset_progress('pgtap', 't', 0, 0, 'x')$$), ('retire', $$SELECT topk.retire_partition('pgtap', 't', 0, 'x')$$), ('grant', $$SELECT topk.grant_access('pgtap_topk_none', 'read', 'pgtap')$$),
    ('audit', $$SELECT * FROM topk.audit('pgtap')$$), ('correct', $$SELECT topk.correct('pgtap', '2020-01-01 00:00Z', 'a', 1, 'x')$$),
    ('retain', $$SELECT topk.set_retention('pgtap', late => '40 days')$$), ('expire', $$SELECT topk.expire_step('pgtap')$$), ('refresh', $$SELECT topk.refresh_step('pgtap')$$),
    ('seal', $$CALL topk.seal('pgtap')$$), ('roll up', $$CALL topk.roll_up('pgtap')$$), ('hold', $$SELECT topk.hold_seal('pgtap')$$), ('resume', $$SELECT topk.resume_seal('pgtap')$$),
    ('prepare', $$SELECT topk.prepare_step('pgtap')$$), ('prepared spans', $$SELECT topk.set_prepared_spans('pgtap', '{24 hours}')$$),
    ('revise', $$SELECT topk.revise('pgtap', '2020-01-01 00:00Z')$$), ('make partitions', $$SELECT topk.make_partition_ahead('pgtap')$$), ('drop', $$SELECT topk.drop_counter('pgtap')$$), ('write', $$INSERT INTO pgtap_topk.pgtap_late VALUES ('day', now(), 'a', 1)$$);
GRANT SELECT ON attempt TO PUBLIC;
SET LOCAL ROLE pgtap_topk_read;
SELECT CASE WHEN what IN ('list', 'status', 'hours', 'audit') THEN lives_ok(statement, '''read'' may ' || what) ELSE throws_ok(statement, '42501', NULL, '''read'' may not ' || what) END FROM attempt ORDER BY number;
RESET ROLE;
SET LOCAL ROLE pgtap_topk_ingest;
SELECT CASE WHEN what IN ('hours', 'claim', 'flush') THEN lives_ok(statement, '''ingest'' may ' || what) ELSE throws_ok(statement, '42501', NULL, '''ingest'' may not ' || what) END FROM attempt ORDER BY number;
SELECT is((SELECT count(*) FROM topk.kafka_progress), 0::bigint, '''ingest'' sees no offsets of others');
RESET ROLE;
SET LOCAL ROLE pgtap_topk_admin;
SELECT CASE WHEN what IN ('status', 'hours', 'reset', 'retire', 'grant', 'audit', 'correct', 'retain', 'expire', 'refresh', 'seal', 'roll up', 'hold', 'resume', 'prepare', 'prepared spans', 'revise', 'make partitions') THEN lives_ok(statement, '''admin'' may ' || what) ELSE throws_ok(statement, '42501', NULL, '''admin'' may not ' || what) END FROM attempt ORDER BY number;
SELECT topk.revoke_access('pgtap_topk_none', 'read', 'pgtap');
RESET ROLE;
SET LOCAL ROLE pgtap_topk_none;
SELECT throws_ok(statement, '42501', NULL, 'nobody may ' || what) FROM attempt ORDER BY number;
SELECT is((SELECT count(*) FROM topk.counter) + (SELECT count(*) FROM topk.kafka_progress), 0::bigint, 'and sees no counter');
RESET ROLE;
SELECT is((SELECT sum(counted) FROM (SELECT counted FROM topk.kafka_progress WHERE counter = 'pgtap' UNION ALL SELECT counted FROM topk.progress_history WHERE counter = 'pgtap') b), 1::numeric, 'what ''ingest'' flushed is in the books');
SELECT is((SELECT views FROM pgtap_topk.pgtap_hour), 1::bigint, 'what ''admin'' corrected is in the hour');
SELECT is((SELECT corrected_by FROM topk.correction WHERE counter = 'pgtap'), 'pgtap_topk_admin', 'and on the record');
SELECT is(count(*) FILTER (WHERE NOT ok), 0::bigint, 'the audit finds nothing') FROM topk.audit('pgtap');

SELECT * FROM finish();
ROLLBACK;
