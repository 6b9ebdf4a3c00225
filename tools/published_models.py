"""What others print about the models: sizes in million parameters, and GMACs of one image."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """Figures as printed, with the digits that they have; empty where nobody prints one."""

    parameters: str
    gmacs: str
    source: str


_TIMM = "timm's benchmark table; its GMACs count norms"
_RESMLP = "timm's benchmark table"
_CYCLEMLP = "README of the authors' code; its GMACs count norms"
_SWIN = "Liu et al. 2021, Table 1"
_REGNET = "model zoo of the authors' pycls"
_CIFAR = "README of chenyaofo's pytorch-cifar-models, CIFAR-10"
_STD = "Li et al. 2022, as Papers with Code lists it"

# timm's are in results/benchmark-infer-amp-nhwc-pt113-cu117-rtx3090.csv of its repository.
PUBLISHED = {
    "mixer_s32": Published("19.10", "1.00", _TIMM),
    "mixer_s16": Published("18.53", "3.79", _TIMM),
    "mixer_b32": Published("60.29", "3.24", _TIMM),
    "mixer_b16": Published("59.88", "12.62", _TIMM),
    "mixer_l32": Published("206.94", "11.27", _TIMM),
    "mixer_l16": Published("208.20", "44.60", _TIMM),
    "mixer_h14": Published("431", "", "Tolstikhin et al. 2021, Table 1, without the class head"),
    "resmlp_s12": Published("15.35", "3.01", _RESMLP),
    "resmlp_s24": Published("30.02", "5.96", _RESMLP),
    "resmlp_s36": Published("44.69", "8.91", _RESMLP),
    "resmlp_b24": Published("115.7", "23.0", "Touvron et al. 2021 (ResMLP)"),
    "resmlp_b24_8": Published("129.14", "100.23", _RESMLP),
    "cyclemlp_b1": Published("15", "2.1", _CYCLEMLP),
    "cyclemlp_b2": Published("27", "3.9", _CYCLEMLP),
    "cyclemlp_b3": Published("38", "6.9", _CYCLEMLP),
    "cyclemlp_b4": Published("52", "10.1", _CYCLEMLP),
    "cyclemlp_b5": Published("76", "12.3", _CYCLEMLP),
    "gmlp_ti16": Published("5.87", "1.34", _TIMM),
    "gmlp_s16": Published("19.42", "4.42", _TIMM),
    "gmlp_b16": Published("73.08", "15.78", _TIMM),
    "deit_ti16": Published("5.72", "1.26", _TIMM),
    "deit_ti16_distilled": Published("5.91", "1.27", _TIMM),
    "deit_s16": Published("22.05", "4.61", _TIMM),
    "deit_s16_distilled": Published("22.44", "4.63", _TIMM),
    "deit_b16": Published("86.57", "17.58", _TIMM),
    "deit_b16_distilled": Published("87.34", "17.68", _TIMM),
    "swin_t": Published("28", "4.5", _SWIN),
    "swin_s": Published("50", "8.7", _SWIN),
    "swin_b": Published("88", "15.4", _SWIN),
    "regnety_4gf": Published("20.6", "4.0", _REGNET),
    "regnety_8gf": Published("39.2", "8.0", _REGNET),
    "regnety_16gf": Published("83.6", "15.9", _REGNET),
    "cifar_resnet20": Published("0.27", "0.04081", _CIFAR),
    "cifar_resnet32": Published("0.47", "0.06912", _CIFAR),
    "cifar_resnet44": Published("0.66", "0.09744", _CIFAR),
    "cifar_resnet56": Published("0.86", "0.12575", _CIFAR),
    "cifar_resnet110": Published("1.7", "", "He et al. 2016, Table 6"),
    "wrn_16_2": Published("0.7", "", "Zagoruyko and Komodakis 2017, arXiv 1612.03928, Table 1"),
    "wrn_40_2": Published("2.2", "", "Zagoruyko and Komodakis 2016, Table 4"),
}
# With two token sets, one at the intermediate and one at the last site.
PUBLISHED_STUDENTS = {
    "mixer_s16": Published("22.2", "4.3", _STD),
    "resmlp_b24": Published("122.6", "24.1", _STD),
    "cyclemlp_b2": Published("30.1", "4.0", _STD),
}
