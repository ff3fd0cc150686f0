"""The loop over steps: look, keep what has reached a KL of the grid, learn, watch, checkpoint."""

import torch

from karma.errors import StageError
from karma.jobs import Job
from karma.policy import alarms, checkpoint, points
from karma.policy.checkpoint import Progress
from karma.policy.faults import NotFiniteError, Skips
from karma.policy.rewards import ask
from karma.policy.step import learn, look
from karma.policy.study import Study, kept_samples, tell_and_steer

ADAM_EPS = 1e-5  # Huang et al. 2022, detail 3


def train(job: Job, study: Study) -> Progress:
    """Train ``study.model`` in place, from the last checkpoint if there is one.

    Raises StageError when a reward returns the wrong number of values, or three steps in a row had
    to be skipped.
    """
    recipe = study.recipe
    learned = [parameter for _, parameter in study.model.learned()]
    optimizer = torch.optim.Adam(learned, lr=recipe.lr, eps=ADAM_EPS)
    _try_rewards(study)
    progress = checkpoint.load(job.scratch, study.model, optimizer)
    if progress is None:
        progress = Progress(kl_coef=recipe.kl_coef)
        progress.samples += kept_samples(study, 0)
    else:
        print(f"policy: goes on after step {progress.step}", flush=True)
    skips = Skips(progress.skipped, progress.skipped_in_a_row)
    for step in range(progress.step + 1, recipe.steps + 1):
        if progress.stopped:
            break
        fault = _try_step(job, study, optimizer, progress, skips, step)
        last = progress.stopped or step == recipe.steps
        if last or step % recipe.samples_every == 0:
            progress.samples += kept_samples(study, step)
        progress.step = step
        progress.skipped, progress.skipped_in_a_row = skips.total, skips.row
        if fault is not None and skips.too_many:
            # Another run tries on from here, and is allowed as many skips again.
            progress.skipped_in_a_row = 0
            _save(job, study, optimizer, progress)
            raise skips.end(step, fault)
        if last or step % recipe.checkpoint_every == 0:
            _save(job, study, optimizer, progress)
        job.progress(step, recipe.steps, "steps")
    return progress


def _save(job: Job, study: Study, optimizer: torch.optim.Optimizer, progress: Progress) -> None:
    if study.team.rank == 0:
        checkpoint.save(job.scratch, study.model, optimizer, progress)


def _try_step(
    job: Job,
    study: Study,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    skips: Skips,
    step: int,
) -> NotFiniteError | None:
    """One step; the reason why, if it had to be skipped."""
    recipe = study.recipe
    try:
        seen = look(study, progress.kl_coef, step)
        if recipe.kl_stop is not None and seen.row["kl"] > recipe.kl_stop:
            print(f"policy: step {step}: KL {seen.row['kl']:.2f} is beyond kl_stop; the run ends")
            progress.stopped = True
            return None
        points.keep(job.scratch, study, progress.points, seen.row)
        row, log = learn(study, optimizer, seen, step)
    except NotFiniteError as error:
        skips.skipped(step, error)
        return error
    skips.learned()
    progress.curves.append(row)
    alarms.watch(progress.alarms, progress.curves, recipe)
    if study.team.rank == 0:
        job.metrics(step, **{k: v for k, v in row.items() if k != "step"}, **log)
    tell_and_steer(recipe, progress, row)
    return None


def _try_rewards(study: Study) -> None:
    """Ask both rewards for two replies before the first step, so that a wrong one ends it there."""
    prompts = [study.prompts[0], study.prompts[-1]]
    turns, slots = [prompt.turns for prompt in prompts], [prompt.slot for prompt in prompts]
    for name, reward in (("the reward", study.reward), ("the gold reward", study.gold)):
        try:
            ask(reward, name, turns, ["Yes.", "No, not at all."], slots)
        except NotFiniteError as error:
            raise StageError(f"{error}, before the first step") from None
