// Showing something for a measured time. Times are those of animation frames, which is when a screen can change.

const SAMPLES = 30;

export const nextFrame = () => new Promise((resolve) => requestAnimationFrame(resolve));

export const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

// Milliseconds of one frame of this screen: the median over half a second.
export async function measureFrame() {
  const gaps = [];
  let before = await nextFrame();
  for (let count = 0; count < SAMPLES; count += 1) {
    const now = await nextFrame();
    gaps.push(now - before);
    before = now;
  }
  gaps.sort((one, other) => one - other);
  return gaps[SAMPLES / 2];
}

// A hidden tab draws no frames: wait until it is looked at.
export async function visible() {
  while (document.hidden) {
    await new Promise((resolve) => document.addEventListener("visibilitychange", resolve, { once: true }));
  }
}

// Show for the whole number of frames that is nearest to `seconds`; the milliseconds that it was.
export function expose(show, hide, seconds, frame) {
  return new Promise((resolve) => {
    requestAnimationFrame((start) => {
      show();
      const step = (now) => {
        if (now - start + frame / 2 < 1000 * seconds) {
          requestAnimationFrame(step);
          return;
        }
        hide();
        resolve(now - start);
      };
      requestAnimationFrame(step);
    });
  });
}
