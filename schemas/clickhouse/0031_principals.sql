-- What a principal, a credential or an address did is found without reading all actions. What is
-- stored gets its indexes in the background.

ALTER TABLE tacho.actions_data ${on_cluster}
    ADD INDEX IF NOT EXISTS of_principal_id principal_id TYPE bloom_filter(0.0001) GRANULARITY 1,
    ADD INDEX IF NOT EXISTS of_credential_id credential_id TYPE bloom_filter(0.0001) GRANULARITY 1,
    ADD INDEX IF NOT EXISTS of_credential_fingerprint credential_fingerprint TYPE bloom_filter(0.0001) GRANULARITY 1,
    ADD INDEX IF NOT EXISTS of_target_ip target_ip TYPE bloom_filter(0.0001) GRANULARITY 1;

ALTER TABLE tacho.actions_data ${on_cluster}
    MATERIALIZE INDEX IF EXISTS of_principal_id,
    MATERIALIZE INDEX IF EXISTS of_credential_id,
    MATERIALIZE INDEX IF EXISTS of_credential_fingerprint,
    MATERIALIZE INDEX IF EXISTS of_target_ip;
