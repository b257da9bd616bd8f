\echo Use "ALTER EXTENSION topk UPDATE TO '1.2'" to load this file. \quit

-- What version 1.2 adds. This script is never edited once released.

CREATE FUNCTION topk.window_state(span text, at timestamptz DEFAULT NULL, counter text DEFAULT 'video_views')
    RETURNS TABLE (window_start timestamptz, window_end timestamptz, sealed boolean, revision bigint, watermark timestamptz, counter_created_at timestamptz)
    AS 'MODULE_PATHNAME', 'topk_window_state' LANGUAGE C STABLE CALLED ON NULL INPUT PARALLEL RESTRICTED ROWS 1
    SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION topk.window_state IS 'the window that topk() of the same span and instant lists: its bounds, whether it is sealed, how often it was corrected, and the least watermark of the counter''s partitions; NULL: none yet';
