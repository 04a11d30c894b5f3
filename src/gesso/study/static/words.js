// What participants read. One page before the study, one after it.

const KEYS = "Answer with the arrow keys ← and → of your keyboard, or with the buttons.";

const PROTOCOLS = {
  ab: () => [
    "You will see two photographs side by side and choose one. Take all the time that you need.",
    KEYS,
  ],
  timed: ({ exposures, camera }) => [
    `Two photographs appear side by side for a moment, ${span(exposures)}, and vanish. Then choose one.`,
    "Look at the small cross between them while you wait; often there is time for a glance only. When you are not sure, guess.",
    ...(camera ? ["Some of the photographs were taken with a camera, others were made by a computer."] : []),
    KEYS,
  ],
  "real-or-fake": ({ practice }) => [
    "One photograph is real, the other was made by a computer. The left one appears for a second, then the right one. "
      + "Then say which of the two was fake.",
    ...(practice ? [`In the first ${practice} you are told whether you were right, afterwards not any more.`] : []),
    KEYS,
  ],
};

function span(exposures) {
  const [shortest, longest] = [Math.min(...exposures), Math.max(...exposures)];
  const words = (seconds) => (seconds < 1 ? `1/${Math.round(1 / seconds)} of a second` : `${seconds} s`);
  return shortest === longest ? words(shortest) : `from ${words(shortest)} to ${words(longest)}`;
}

export function instructions(study) {
  return {
    heading: study.title,
    question: `The question is always: ${study.question}`,
    points: [
      ...PROTOCOLS[study.protocol](study),
      `There are ${study.total} pairs. You can stop at any time and go on later in this browser.`,
      "Answers are kept without your name or anything else about you.",
    ],
    go: "Begin",
  };
}

export const resume = (study, position) => ({
  heading: study.title,
  question: `You have answered ${position} of ${study.total} pairs. ${study.question} ${KEYS}`,
  points: [],
  go: "Go on",
});

export const THANKS = {
  heading: "Thank you",
  question: "All your answers have arrived. You can close this page.",
  points: [],
  go: "",
};

export const ELSEWHERE = {
  heading: "Open elsewhere",
  question: "This study was opened in another tab or window of this browser. Go on there, or here:",
  points: [],
  go: "Go on here",
};

export const refused = (message) => ({ heading: "This did not work", question: message, points: [], go: "Load again" });

export const TROUBLE = "No connection to the study. Your answer is kept here and sent again; please leave this page open.";

export function progress(study, position) {
  if (position < study.practice) return `Practice ${position + 1} of ${study.practice}`;
  return `${position - study.practice + 1} of ${study.total - study.practice}`;
}

export const feedback = (right, correct) => `${right ? "Right" : "Wrong"}: the ${correct} one was fake.`;
