/**
 * Long work as a list of named steps, each with its undo. When a step fails, its own undo and those of the steps before it
 * run in reverse order; an undo therefore copes with work that was never or only half done. That also makes undoing the
 * way to clean up after a xend that was killed, and to end a domain.
 */
export interface Step<C> {
  readonly name: string;
  run(context: C): Promise<void> | void;
  undo?(context: C): Promise<void> | void;
}

export const step = <C>(name: string, run: Step<C>['run'], undo?: Step<C>['undo']): Step<C> => ({ name, run, undo });

export interface Operation<C> {
  readonly name: string;
  readonly steps: readonly Step<C>[];
}

export const operation = <C>(name: string, steps: readonly Step<C>[]): Operation<C> => ({ name, steps });

export type Progress = (text: string) => void;

export async function perform<C>(operation: Operation<C>, context: C, progress: Progress): Promise<void> {
  for (const [at, { name, run }] of operation.steps.entries()) {
    try {
      progress(`${operation.name}: ${name}`);
      await run(context);
    } catch (error) {
      progress(`${operation.name}: ${name} failed: ${(error as Error).message}`);
      await undo({ name: operation.name, steps: operation.steps.slice(0, at + 1) }, context, progress);
      throw error;
    }
  }
}

/** Undo all steps, last one first. A failing undo is reported and does not stop the others. */
export async function undo<C>(operation: Operation<C>, context: C, progress: Progress): Promise<void> {
  for (const { name, undo } of operation.steps.toReversed()) {
    if (!undo) continue;
    try {
      await undo(context);
    } catch (error) {
      progress(`${operation.name}: undoing "${name}" failed: ${(error as Error).message}`);
    }
  }
}
