"""Problems written for these tests, in the forms of GSM8K and MATH."""

from __future__ import annotations

GSM8K = [
    {"question": question, "answer": answer}
    for question, answer in [
        (
            "Mira bakes 4 trays of 9 rolls and eats 3 of them. How many rolls are left?",
            "She bakes 4*9=<<4*9=36>>36 rolls.\n36-3=<<36-3=33>>33 are left.\n#### 33",
        ),
        (
            "A bus ticket costs $2.50. What do 6 tickets cost?",
            "Six tickets cost 6*2.50=$<<6*2.50=15>>15.\n#### 15",
        ),
        (
            "A well holds 1,200 litres. It loses a quarter. How many litres are in it then?",
            "A quarter is 1200/4=<<1200/4=300>>300 litres.\nSo 1200-300=<<1200-300=900>>900 litres stay.\n#### 900",
        ),
        (
            "Ben saves $125 a month. How much has he after 3 years?",
            "3 years have 3*12=<<3*12=36>>36 months.\nHe has 36*125=$<<36*125=4500>>4500.\n#### 4,500",
        ),
        (
            "Tara had 5 apples and gave away 7 promised ones, borrowing the rest. How many apples does she have?",
            "5-7=<<5-7=-2>>-2\n#### -2",
        ),
        (
            "Half of 9 metres of rope is cut off. How many metres is the piece?",
            "9/2=<<9/2=4.5>>4.5\n#### 4.5",
        ),
        ("Each of 7 hens lays 5 eggs. How many eggs are there?", "7*5=<<7*5=35>>35\n#### 35"),
        ("A film of 95 minutes starts 10 minutes late. After how many minutes does it end?", "95+10=105\n#### 105"),
        ("Out of 80 seats 15% are free. How many seats are free?", "80*15/100=<<80*15/100=12>>12\n#### 12"),
        ("Lia reads 14 pages a day. How many pages does she read in two weeks?", "14*14=<<14*14=196>>196\n#### 196"),
        ("A crate has 6 rows of 8 jars; 5 jars broke. How many are whole?", "6*8=48 and 48-5=43\n#### 43"),
        ("Two friends share 90 marbles equally. How many does each get?", "90/2=<<90/2=45>>45\n#### 45"),
    ]
]

MATH = [
    {"problem": problem, "solution": solution}
    for problem, solution in [
        ("Compute $3^4-2^5$.", "We have $81-32=\\boxed{49}$."),
        ("Write $0.75$ as a fraction.", "As $0.75=\\frac{75}{100}$, it is $\\boxed{\\frac{3}{4}}$."),
        ("Solve $2x+6=0$ for $x$.", "Then $2x=-6$, so $x=\\boxed{-3}$."),
        ("Simplify $\\sqrt{48}$.", "$\\sqrt{16\\cdot 3}=\\boxed{4\\sqrt{3}}$"),
        ("Give the solutions of $(x-1)(x-4)=0$.", "They are $\\boxed{1,4}$."),
        ("What is the domain of $\\sqrt{x-2}$?", "We need $x\\ge 2$: $\\boxed{[2,\\infty)}$."),
        ("Find the midpoint of $(0,1)$ and $(4,5)$.", "It is $\\boxed{\\left(2,3\\right)}$."),
        ("How many degrees has a right angle?", "A quarter of $360^\\circ$ is $\\boxed{90^\\circ}$."),
        ("Factor $x^2-9$.", "It is $\\boxed{(x-3)(x+3)}$."),
        ("Who is taller, Ann (170 cm) or Bo (165 cm)?", "As $170>165$, it is $\\boxed{\\text{Ann}}$."),
        ("How many seconds are in 20 minutes?", "$20\\cdot 60=\\boxed{1{,}200}$ seconds."),
        (
            "Invert $\\begin{pmatrix} 2 & 0 \\\\ 0 & 2 \\end{pmatrix}$.",
            "It is $\\boxed{\\begin{pmatrix} 1/2 & 0 \\\\ 0 & 1/2 \\end{pmatrix}}$.",
        ),
    ]
]
