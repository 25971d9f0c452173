-- An index that is wrong for one of a hundred blocks finds a session of forty actions among a
-- hundred million in a hundred blocks too many, and FINAL then reads every block that may hold
-- another copy of what lies there. Wrong for one of ten thousand it costs twice the bytes. Under
-- new names, so that two processes may do this at once. What is stored gets its own in the background;
-- the old ones go first, since their end would wait for that.

ALTER TABLE tacho.actions_data ${on_cluster}
    ADD INDEX IF NOT EXISTS of_event_id event_id TYPE bloom_filter(0.0001) GRANULARITY 1,
    ADD INDEX IF NOT EXISTS of_agent_id agent_id TYPE bloom_filter(0.0001) GRANULARITY 1,
    ADD INDEX IF NOT EXISTS of_session_id session_id TYPE bloom_filter(0.0001) GRANULARITY 1,
    ADD INDEX IF NOT EXISTS of_trace_id trace_id TYPE bloom_filter(0.0001) GRANULARITY 1,
    ADD INDEX IF NOT EXISTS of_twin_key twin_key TYPE bloom_filter(0.0001) GRANULARITY 1,
    ADD INDEX IF NOT EXISTS of_tool_name tool_name TYPE bloom_filter(0.0001) GRANULARITY 1;

ALTER TABLE tacho.actions_data ${on_cluster}
    DROP INDEX IF EXISTS by_event_id,
    DROP INDEX IF EXISTS by_agent_id,
    DROP INDEX IF EXISTS by_session_id,
    DROP INDEX IF EXISTS by_trace_id,
    DROP INDEX IF EXISTS by_twin_key,
    DROP INDEX IF EXISTS by_tool_name;

ALTER TABLE tacho.actions_data ${on_cluster}
    MATERIALIZE INDEX IF EXISTS of_event_id,
    MATERIALIZE INDEX IF EXISTS of_agent_id,
    MATERIALIZE INDEX IF EXISTS of_session_id,
    MATERIALIZE INDEX IF EXISTS of_trace_id,
    MATERIALIZE INDEX IF EXISTS of_twin_key,
    MATERIALIZE INDEX IF EXISTS of_tool_name;
