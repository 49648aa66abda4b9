# Intentions and revocations as data structures: no I/O, so tests and tools can link them alone.
add_library(agent_model STATIC hash_map.c intention_hash.c intention_json.c intention_make.c intention_match.c
  intention_permissions.c intention_prepare.c intention_rows.c intention_text.c intention_validate.c intentions.c
  revocation_text.c revocations.c)
target_link_libraries(agent_model PUBLIC agent_base agent_store shm)
