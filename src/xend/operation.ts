/**
 * Long work as a list of named steps, each with its undo. When a step fails, its own undo and those of the steps before it
 * run in reverse order; an undo therefore copes with work that was never or only half done. That also makes undoing the
 * way to clean up after a xend that was killed, and to end a domain.
 */
export interface Step<C> {
  readonly name: string;
  run(context: C, signal: AbortSignal): Promise<void> | void;
  undo?(context: C): Promise<void> | void;
}

export const step = <C>(name: string, run: Step<C>['run'], undo?: Step<C>['undo']): Step<C> => ({ name, run, undo });

export interface Operation<C> {
  readonly name: string;
  readonly steps: readonly Step<C>[];
}

export const operation = <C>(name: string, steps: readonly Step<C>[]): Operation<C> => ({ name, steps });

/** How far work has come, for those who watch it; and whether something stronger wants it to give up. */
export interface Course {
  /** Fires when the work is to be given up: no further step begins. Steps that wait for others listen to it. */
  readonly signal: AbortSignal;
  /** A step begins: number `at` of `of`, from 1. */
  step(name: string, at: number, of: number): void;
  /** A line for the log. */
  note(text: string): void;
}

export async function perform<C>({ name, steps }: Operation<C>, context: C, course: Course): Promise<void> {
  for (const [at, { name: stepName, run }] of steps.entries()) {
    try {
      course.signal.throwIfAborted();
      course.step(stepName, at + 1, steps.length);
      await run(context, course.signal);
    } catch (error) {
      course.note(`${stepName} failed: ${(error as Error).message}`);
      await undo({ name, steps: steps.slice(0, at + 1) }, context, course);
      throw error;
    }
  }
}

/** Undo all steps, last one first. A failing undo is reported and does not stop the others. */
export async function undo<C>({ steps }: Operation<C>, context: C, course: Course): Promise<void> {
  const undoable = steps.filter(({ undo }) => undo).toReversed();
  for (const [at, { name, undo }] of undoable.entries()) {
    try {
      course.step(`undo: ${name}`, at + 1, undoable.length);
      await undo!(context);
    } catch (error) {
      course.note(`undoing "${name}" failed: ${(error as Error).message}`);
    }
  }
}
