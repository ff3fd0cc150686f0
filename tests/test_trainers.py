"""From which checkpoint a killed training goes on."""

from karma.trainers import last_whole


def test_the_last_checkpoint_counts_that_was_written_to_its_end(tmp_path):
    assert last_whole(tmp_path) is None
    for step, state in ((2, "{}"), (9, "{}"), (10, '{"epoch": 0.'), (11, None)):
        (tmp_path / f"checkpoint-{step}").mkdir()
        if state is not None:
            (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text(state)
    assert last_whole(tmp_path) == tmp_path / "checkpoint-9"
    assert last_whole(tmp_path, "progress.json") is None
