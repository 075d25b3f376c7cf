# deploy/helm/access_policy_vault.yaml on EKS: pods log in to Vault by their service account, and to AWS
# by the same (IRSA). Copy this folder and change the names.
#
#   secure-xcom policy compile access_policy.yaml --out compiled
#   terraform init && terraform plan

terraform {
  required_version = ">= 1.6"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.80, < 7.0"
    }
    vault = {
      source  = "hashicorp/vault"
      version = ">= 4.5, < 6.0"
    }
  }
}

variable "compiled" {
  description = "The folder that `secure-xcom policy compile --out` wrote."
  type        = string
  default     = "compiled"
}

variable "oidc_provider_arn" {
  description = "The cluster's OIDC provider in IAM."
  type        = string
}

variable "oidc_issuer" {
  description = "The cluster's OIDC issuer without https://."
  type        = string
}

variable "namespace" {
  description = "The namespace that Airflow's pods run in."
  type        = string
  default     = "airflow"
}

locals {
  # Identity of the access policy => name of its role (as in its principal) and its service account.
  pods = {
    "xcom-risk"    = { role = "xcom-risk-pods", service_account = "xcom-risk" }
    "xcom-sandbox" = { role = "xcom-sandbox-pods", service_account = "xcom-sandbox" }
  }
}

data "aws_iam_policy_document" "pods" {
  for_each = local.pods

  statement {
    actions = ["sts:AssumeRoleWithWebIdentity"]

    principals {
      type        = "Federated"
      identifiers = [var.oidc_provider_arn]
    }

    condition {
      test     = "StringEquals"
      variable = "${var.oidc_issuer}:sub"
      values   = ["system:serviceaccount:${var.namespace}:${each.value.service_account}"]
    }

    condition {
      test     = "StringEquals"
      variable = "${var.oidc_issuer}:aud"
      values   = ["sts.amazonaws.com"]
    }
  }
}

module "aws" {
  source   = "../modules/aws"
  compiled = var.compiled

  roles = {
    for identity, pod in local.pods : identity => {
      name  = pod.role
      trust = data.aws_iam_policy_document.pods[identity].json
    }
  }
}

module "vault" {
  source   = "../modules/vault"
  compiled = var.compiled
}

output "role_arns" {
  description = "For the annotation eks.amazonaws.com/role-arn of each service account."
  value       = module.aws.role_arns
}
