"""What an action touched, as ClickHouse finds it in the action's columns."""

NOT_DONE = "outcome IN ('failed', 'denied')"
CREDENTIAL = "if(credential_id != '', credential_id, credential_fingerprint)"
_HOST = """('host', if(target_domain != '', target_domain,
                    if(target_host != '', target_host, target_ip)))"""
_RECIPIENTS = "arrayMap(one -> ('recipient', one), recipients)"
# Pairs of kind and value. Joined in the clause of that name: below the function, a condition on
# agent or principal would not reach the tables' indexes.
TOUCHES = f"""arrayFilter(one -> one.2 != '', arrayConcat(
            [('tool', tool_name), ('tool_server', tool_server),
                {_HOST},
                ('file', file_path), ('resource', target_resource), ('account', target_account),
                ('table', target_table), ('repo', target_repo), ('memory', memory_key),
                ('credential', {CREDENTIAL}),
                ('model', model_name), ('package', artifact_name), ('agent', peer_agent_id)],
            {_RECIPIENTS},
            arrayMap(one -> ('secret', one), secret_fingerprints),
            arrayMap(one -> ('document', one), retrieval_doc_ids)))"""
# Of these, where something may be sent.
DESTINATIONS = f"arrayFilter(one -> one.2 != '', arrayConcat([{_HOST}], {_RECIPIENTS}))"
IS_DESTINATION = "touched_type IN ('host', 'recipient')"
