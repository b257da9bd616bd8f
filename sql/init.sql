-- Builders of flush arguments, for the tests that follow.
CREATE SCHEMA t;
CREATE FUNCTION t.entry(id text, views bigint) RETURNS bytea LANGUAGE sql IMMUTABLE AS
    $$ SELECT int2send(octet_length(id)::int2) || convert_to(id, 'UTF8') || int8send(views) $$;
CREATE FUNCTION t.hour(start timestamptz, VARIADIC entries bytea[]) RETURNS bytea LANGUAGE sql STABLE AS
    $$ SELECT int8send((extract(epoch FROM start) * 1000)::bigint) || int4send(cardinality(entries)) || (SELECT string_agg(e, ''::bytea ORDER BY n) FROM unnest(entries) WITH ORDINALITY u (e, n)) $$;
CREATE FUNCTION t.deltas(VARIADIC hours bytea[] DEFAULT '{}') RETURNS bytea LANGUAGE sql IMMUTABLE AS
    $$ SELECT '\x01'::bytea || coalesce((SELECT string_agg(h, ''::bytea ORDER BY n) FROM unnest(hours) WITH ORDINALITY u (h, n)), '') $$;
-- A partition's advance by records that were all counted; the fingerprint is made up.
CREATE FUNCTION t.advance(partition int, epoch bigint, from_offset bigint, to_offset bigint, watermark timestamptz DEFAULT NULL) RETURNS topk.flush_progress LANGUAGE sql IMMUTABLE AS
    $$ SELECT ROW(partition, epoch, from_offset, to_offset, to_offset - 1, 1767225600000 + to_offset, 4000000000 + to_offset, watermark, to_offset - from_offset, 0, 0, 0)::topk.flush_progress $$;
-- What a statement fails with; process ids are masked.
CREATE FUNCTION t.error(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    state text; message text; detail text; hint text;
BEGIN
    EXECUTE statement;
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN regexp_replace(concat_ws(E'\n', state || ' ' || message, 'DETAIL ' || nullif(detail, ''), 'HINT ' || nullif(hint, '')), 'process \d+', 'process N', 'g');
END $$;
-- The caches of catalogs grow here, and not later, where DEBUG would tell of it.
CREATE PROCEDURE t.fill_caches() LANGUAGE plpgsql AS $$ BEGIN
    PERFORM has_column_privilege(attrelid, attnum, 'SELECT'), has_column_privilege(attrelid, attname::text, 'SELECT') FROM pg_attribute WHERE attnum > 0 AND NOT attisdropped;
    PERFORM has_table_privilege(oid, 'SELECT'), relname::regclass FROM pg_class WHERE relnamespace = 'pg_catalog'::regnamespace;
    PERFORM has_function_privilege(oid, 'EXECUTE') FROM pg_proc;
    PERFORM has_type_privilege(oid, 'USAGE'), format_type(oid, NULL) FROM pg_type;
    PERFORM oid::regoperator::text FROM pg_operator;
END $$;
GRANT USAGE ON SCHEMA t TO PUBLIC;
