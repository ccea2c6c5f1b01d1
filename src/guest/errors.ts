/** What goes wrong while guests are prepared and what the user can do about it, in one line. */
export class GuestError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'GuestError';
  }
}
