"""Responses that no model would write and some do: what the property tests are made of."""

from hypothesis import strategies as st

STATEMENTS = r"""
$\boxed{{{0}}}$
\boxed{{{0}}}
$$\boxed{{{0}}}$$
\[ \boxed{{{0}}} \]
\(x = \boxed{{{0}}}\)
$\boxed{{{0}}}$ percent
\boxed{{{0}}}\%
\boxed{{{0}}} and \boxed{{{1}}}
$\boxed{{{0}}}$ or $\boxed{{{1}}}$
\fbox{{{0}}}
\boxed {{{0}}}
The final answer is ${0}$. I hope it is correct.
The final answer is {0}. I hope
Final Answer: {0}
The FINAL ANSWER to this is {0}
**Answer:** ${0}$
The answer is {0}.
The answer is x = {0}, = {1}
${0}$
\[{0}\]
\({0}\)
 [{0}] and
{0}
**{0}**
= {0}
${0}$, ${1}$ and ${0}$
#### {0}
""".strip("\n").splitlines()
"""Ways to state one answer or two, as formats."""

ANSWERS = [
    *r"""
42
-7
0
1/2
\frac{1}{2}
\frac12
0.5
.5
50\%
50%
x=5
x
x^2+1
2\sqrt{3}
(1,2)
[0,1)
\{1,2\}
1,2
1{,}000
1,000
\text{no}
\pm\,2
3\text{cm}
\$5
$5
12:00
10^\circ
x<2
\frac{1}{
}
{
=
no
\boxed{3}
e
1+1
\cdot
12.
7!
""".strip("\n").splitlines(),
    "", " ", "\u00bd", "3 cm", "1 000", "4\n2",
]  # fmt: skip
"""Answers, right and broken; none is dear to compare."""

NOISE = [
    *r"""
Let us see.
$
$$
$x$
$y = 3$,
\(
\)
\[
\]
It costs $5 or $6.
\boxed{9} is wrong.
\boxed{
\boxed
}
{
100%
3 + 4 = 7
An answer
ANSWER:
final answer is
[1]
\$3
I hope
percent
and
,
\frac{3}{4}
\\[2pt]
\
=
**
""".strip("\n").splitlines(),
    "final an\u017fwer \u0130s", "F\u0131nal Answer is", "\u00e9t\u00e9", "\n", "\n\n", " ", "\t",
]  # fmt: skip
"""What stands around the answer, so as to open, close, mimic or hide it."""

answers = st.sampled_from(ANSWERS)
statements = st.builds(str.format, st.sampled_from(STATEMENTS), answers, answers)
noises = st.lists(st.sampled_from(NOISE) | st.sampled_from(["\n", " "]), max_size=8).map("".join)
texts = st.lists(
    st.sampled_from([*NOISE, *ANSWERS]) | statements | st.sampled_from(["\n", " "]), max_size=30
).map("".join)
