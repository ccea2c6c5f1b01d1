/** What is wrong with a kernel's file, as text for people: one line, no path (the caller knows it). */
export class KernelError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'KernelError';
  }
}
