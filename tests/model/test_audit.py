"""One error planted in what a schedule left, by hand, as no function of topk would: the audit names it."""
from datetime import datetime, timezone

import settings
from harness.zone_hours import ms_of
from schedule import Schedule

# What is planted → a statement that plants it and returns the subject that the audit must name
ERRORS = {
    "a row of an hour changed": "UPDATE {name}_hour SET views = views + 1 WHERE (window_start, video_id) = "
                                "(SELECT window_start, video_id FROM {name}_hour ORDER BY md5(video_id || window_start) LIMIT 1) "
                                "RETURNING 'hour ' || window_start",
    "a row of an hour deleted": "DELETE FROM {name}_hour WHERE (window_start, video_id) = "
                                "(SELECT window_start, video_id FROM {name}_hour ORDER BY md5(video_id || window_start) LIMIT 1) "
                                "RETURNING 'hour ' || window_start",
    "a row of an hour added": "INSERT INTO {name}_hour SELECT window_start, 'planted', 1 FROM {name}_hour ORDER BY md5(video_id || window_start) LIMIT 1 "
                              "RETURNING 'hour ' || window_start",
    "an offset moved on": "UPDATE topk.kafka_progress_data SET next_offset = next_offset + 1 WHERE counter = '{name}' AND (topic, partition) = "
                          "(SELECT topic, max(partition) FROM topk.kafka_progress WHERE counter = '{name}' GROUP BY topic ORDER BY topic DESC LIMIT 1) "
                          "RETURNING format('partition %s of topic \"%s\"', partition, topic)",
    "an offset moved back": "UPDATE topk.kafka_progress_data SET next_offset = next_offset - 1 WHERE counter = '{name}' AND topic = 'live' AND partition = 0 "
                            "RETURNING format('partition %s of topic \"%s\"', partition, topic)",
    "a record counted too often": "UPDATE topk.kafka_progress_data SET counted = counted + 1 WHERE counter = '{name}' AND topic = 'live' AND partition = 1 "
                                  "RETURNING format('partition %s of topic \"%s\"', partition, topic)",
    "a reset that led elsewhere": "UPDATE topk.progress_history_data SET reset_to = reset_to + 1000 WHERE ctid = "
                                  "(SELECT ctid FROM topk.progress_history_data WHERE counter = '{name}' ORDER BY reset_at LIMIT 1) "
                                  "RETURNING format('partition %s of topic \"%s\"', partition, topic)",
    "a dead letter deleted": "DELETE FROM topk.dead_letter_data WHERE ctid = (SELECT ctid FROM topk.dead_letter_data WHERE counter = '{name}' "
                             "ORDER BY \"offset\" LIMIT 1) RETURNING format('partition %s of topic \"%s\"', partition, topic)",
    "a late view deleted": "DELETE FROM topk.late_views_data WHERE ctid = (SELECT ctid FROM topk.late_views_data WHERE counter = '{name}' "
                           "ORDER BY md5(video_id || hour_start) LIMIT 1) RETURNING 'hour ' || hour_start",
    "late records forgotten": "UPDATE topk.late_views_data SET records = records + 1 WHERE ctid = (SELECT ctid FROM topk.late_views_data "
                              "WHERE counter = '{name}' ORDER BY md5(video_id || hour_start) LIMIT 1) RETURNING 'hour ' || hour_start",
    "a late addition to a day deleted": "DELETE FROM {name}_late WHERE ctid = (SELECT ctid FROM {name}_late WHERE span = 'day' LIMIT 1) "
                                        "RETURNING 'day ' || window_start",
    "a late addition to a month changed": "UPDATE {name}_late SET views = views + 5 WHERE ctid = (SELECT ctid FROM {name}_late WHERE span = 'month' LIMIT 1) "
                                          "RETURNING 'month ' || window_start",
    "a late addition to all time deleted": "DELETE FROM {name}_late WHERE ctid = (SELECT ctid FROM {name}_late WHERE span = 'all_time' LIMIT 1) "
                                           "RETURNING 'all_time'",
    "a correction off the record": "DELETE FROM topk.correction_data WHERE ctid = (SELECT ctid FROM topk.correction_data WHERE counter = '{name}' "
                                   "AND delta <> 0 ORDER BY corrected_at LIMIT 1) RETURNING 'hour ' || hour_start",
    "a row rolled up twice": "INSERT INTO {name}_day_rollup AS r SELECT window_start, video_id, views FROM {name}_day ORDER BY window_start, video_id LIMIT 1 "
                             "ON CONFLICT (window_start, video_id) DO UPDATE SET views = r.views + excluded.views RETURNING 'day ' || r.window_start",
}


def findings(cursor, counter):
    cursor.execute("SELECT check_name, subject FROM topk.audit(%s) WHERE NOT ok AND subject IS NOT NULL", (counter,))
    return cursor.fetchall()


def test_audit_names_a_planted_error(database, steps_log):
    schedule = Schedule(settings.SEED, database, "Asia/Kathmandu", ms_of(datetime(2024, 2, 28, 20, tzinfo=timezone.utc)), steps_log.append)
    schedule.run(min(settings.STEPS, 400))
    schedule.reset()
    connection = database.cluster.connect(database.name)
    connection.autocommit = False
    with connection.cursor() as cursor:
        assert findings(cursor, schedule.counter) == []
        for what, plant in ERRORS.items():
            cursor.execute(plant.format(name=schedule.counter))
            planted = cursor.fetchall()
            assert len(planted) == 1, f"{what}: there was nothing to change"
            found = findings(cursor, schedule.counter)
            assert any(subject.startswith(planted[0][0]) for _, subject in found), f"{what} in {planted[0][0]}: the audit names {found}"
            connection.rollback()
    connection.close()
