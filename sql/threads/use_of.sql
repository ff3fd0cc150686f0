-- One word for what a thread is for, the same for ever: test, validation, or a use in training.
CREATE MACRO use_of(thread_id, test, validation, sft, reward, gold) AS
CASE
    WHEN share('split', thread_id) < test THEN 'test'
    WHEN share('split', thread_id) < test + validation THEN 'validation'
    WHEN share('use', thread_id) < sft THEN 'sft'
    WHEN share('use', thread_id) < sft + reward THEN 'reward'
    WHEN share('use', thread_id) < sft + reward + gold THEN 'gold'
    ELSE 'ppo'
END
